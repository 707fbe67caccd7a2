import Glibc

/// Requests on their way in: one buffer, filled by as few `recv`s as the client's batching allows.
@safe struct Input: ~Copyable {
  static let capacity = 256 << 10

  let socket: Int32
  private let buffer: UnsafeMutableRawPointer
  private var start = 0
  private var end = 0

  init(socket: Int32) {
    self.socket = socket
    unsafe buffer = .allocate(byteCount: Self.capacity, alignment: 4096)
  }
  deinit { unsafe buffer.deallocate() }

  /// Bytes there to be taken.
  var available: Int { end - start }
  /// The first of them.
  var bytes: UnsafeMutableRawPointer { unsafe buffer + start }
  mutating func take(_ count: Int) { start += count }

  enum Received { case bytes, idle, closed }

  /// Waits for more. `idle`: nothing came within the socket's receive timeout.
  mutating func receive() -> Received {
    if start == end {
      start = 0
      end = 0
    } else if start > 0 {
      // Less than a request, or less than a page of payload.
      unsafe memmove(buffer, buffer + start, end - start)
      end -= start
      start = 0
    }
    while true {
      let count = unsafe recv(socket, buffer + end, Self.capacity - end, 0)
      if count > 0 {
        end += count
        return .bytes
      }
      if count == 0 { return .closed }
      if errno == EINTR { continue }
      return errno == EAGAIN || errno == EWOULDBLOCK ? .idle : .closed
    }
  }

  /// Gives the buffer's memory back and waits until something comes, however long.
  mutating func rest() {
    if available == 0 { unsafe madvise(buffer, Self.capacity, MADV_DONTNEED) }
    var wait = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
    while unsafe poll(&wait, 1, -1) < 0, errno == EINTR {}
  }
}

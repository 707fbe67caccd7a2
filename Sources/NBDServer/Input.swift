import Glibc
import TLS

/// The receive buffer of a connection. It is filled by as few `recv`s as the client's batching
/// allows. Only its first pages are used, until they are full once and the server has memory for
/// more.
@safe struct Input: ~Copyable {
  static let capacity = Int(Overhead.buffer)
  /// Enough for a request and a page of payload.
  static let small = 8 << 10

  let socket: Int32
  let tls: TLSSession?
  private let buffer: UnsafeMutableRawPointer
  private let overhead: Overhead
  private var capacity = Self.small
  private var start = 0
  private var end = 0
  private var poll: BusyPoll

  init(socket: Int32, tls: TLSSession?, overhead: Overhead, busyPoll: UInt64) {
    poll = BusyPoll(longest: busyPoll)
    self.socket = socket
    self.tls = tls
    self.overhead = overhead
    unsafe buffer = .allocate(byteCount: Self.capacity, alignment: 4096)
  }

  deinit {
    if capacity > Self.small { overhead.give(Overhead.buffer) }
    unsafe buffer.deallocate()
  }

  /// The number of received bytes that are not taken yet.
  var available: Int { end - start }
  /// The first byte that is not taken yet.
  var bytes: UnsafeMutableRawPointer { unsafe buffer + start }
  mutating func take(_ count: Int) { start += count }

  enum Received { case bytes, idle, closed }

  /// Waits for more bytes. Returns `idle` if none come within the socket's receive timeout.
  mutating func receive() -> Received {
    // The client sends more than there is room for.
    if end == capacity && capacity == Self.small && overhead.take(Overhead.buffer) {
      capacity = Self.capacity
    }
    moveToFront()
    let (target, room) = unsafe (buffer + end, capacity - end)
    var count = 0
    let isThere =
      tls?.hasMore == true
      || poll.look {
        // With TLS, only look whether a record has begun.
        unsafe count = recv(
          socket, target, tls == nil ? room : 1, tls == nil ? Self.look : Self.peek)
        return count >= 0 || errno != EAGAIN && errno != EINTR
      }
    if isThere && tls == nil {
      end += max(0, count)
      return count > 0 ? .bytes : .closed
    }
    while true {
      count =
        if let tls { unsafe tls.receive(target, room) } else {
          unsafe recv(socket, target, room, 0)
        }
      if count > 0 {
        end += count
        if !isThere { poll.slept() }
        return .bytes
      }
      if count == 0 { return .closed }
      if errno == EINTR { continue }
      return errno == EAGAIN || errno == EWOULDBLOCK ? .idle : .closed
    }
  }

  private static let look = Int32(MSG_DONTWAIT)
  private static let peek = Int32(MSG_DONTWAIT | MSG_PEEK)

  /// Moves what is not taken yet to the front: less than a request, or less than a page of payload.
  private mutating func moveToFront() {
    if start < end && start > 0 { unsafe memmove(buffer, buffer + start, end - start) }
    end -= start
    start = 0
  }

  /// Gives the unused memory of the buffer back, and waits for input without a timeout.
  mutating func rest() {
    moveToFront()
    if capacity > Self.small && end < Self.small {
      capacity = Self.small
      overhead.give(Overhead.buffer)
    }
    let kept = (end + 4095) & ~4095
    unsafe madvise(buffer + kept, Self.capacity - kept, MADV_DONTNEED)
    if let tls {
      guard !tls.hasMore else { return }
      tls.rest()
    }
    var wait = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
    while unsafe Glibc.poll(&wait, 1, -1) < 0, errno == EINTR {}
  }
}

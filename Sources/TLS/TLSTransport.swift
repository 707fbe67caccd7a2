import CGnuTLS
import Glibc

/// The socket under a session, with a buffer of encrypted bytes that are not decrypted yet. GnuTLS
/// asks for the five bytes of a record's head first, which would be a system call for each record.
@safe struct TLSTransport {
  static let capacity = 64 << 10

  let socket: Int32
  /// Waits until the socket is ready for these `poll` events. Returns false if the time is over.
  /// Nil if the socket's own timeouts hold.
  var wait: ((Int32) -> Bool)?
  private let buffer: UnsafeMutableRawPointer
  private var start = 0
  private var end = 0
  /// Whether the last call of GnuTLS ended because of a timeout.
  var hasTimedOut = false

  init(socket: Int32, wait: @escaping (Int32) -> Bool) {
    self.socket = socket
    self.wait = wait
    unsafe buffer = .allocate(byteCount: Self.capacity, alignment: 4096)
  }

  func deallocate() { unsafe buffer.deallocate() }

  var isEmpty: Bool { start == end }

  /// Whether the buffer has a whole record.
  var hasRecord: Bool {
    guard end - start >= 5 else { return false }
    let high = unsafe buffer.load(fromByteOffset: start + 3, as: UInt8.self)
    let low = unsafe buffer.load(fromByteOffset: start + 4, as: UInt8.self)
    return end - start - 5 >= Int(high) << 8 | Int(low)
  }

  /// Gives the memory of the empty buffer back to the system.
  func rest() {
    if isEmpty { unsafe madvise(buffer, Self.capacity, MADV_DONTNEED) }
  }

  mutating func pull(_ target: UnsafeMutableRawPointer, _ count: Int) -> Int {
    if isEmpty {
      let received = receive()
      guard received > 0 else { return received }
      (start, end) = (0, received)
    }
    let part = min(count, end - start)
    unsafe target.copyMemory(from: buffer + start, byteCount: part)
    start += part
    return part
  }

  private mutating func receive() -> Int {
    while true {
      if let wait, !wait(POLLIN) { return timedOut() }
      let flags = wait == nil ? 0 : Int32(MSG_DONTWAIT)
      let count = unsafe recv(socket, buffer, Self.capacity, flags)
      if count >= 0 { return count }
      if errno == EINTR { continue }
      guard errno == EAGAIN || errno == EWOULDBLOCK else { return -1 }
      if wait == nil { return timedOut() }
    }
  }

  mutating func push(_ pieces: UnsafePointer<iovec>, _ count: Int) -> Int {
    var message = unsafe msghdr()
    unsafe message.msg_iov = UnsafeMutablePointer(mutating: pieces)
    unsafe message.msg_iovlen = count
    while true {
      let flags = Int32(MSG_NOSIGNAL) | (wait == nil ? 0 : Int32(MSG_DONTWAIT))
      let sent = unsafe sendmsg(socket, &message, flags)
      if sent >= 0 { return sent }
      if errno == EINTR { continue }
      guard errno == EAGAIN || errno == EWOULDBLOCK else { return -1 }
      guard let wait, wait(POLLOUT) else { return timedOut() }
    }
  }

  private mutating func timedOut() -> Int {
    hasTimedOut = true
    errno = EAGAIN
    return -1
  }
}

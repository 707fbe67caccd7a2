import Glibc
import Primitives

/// A time by which an operation on a socket must end, whatever the other side does. A timeout for
/// each call would start again with every byte that a slow client sends.
public struct Deadline: Sendable {
  /// On the monotonic clock, in nanoseconds. Nil means never.
  private let end: UInt64?

  /// A deadline in so many seconds from now. 0 means never.
  public init(seconds: Int) {
    end = seconds > 0 ? monotonicTime() + UInt64(seconds) * 1_000_000_000 : nil
  }

  /// The timeout for `poll`: the milliseconds left, rounded up; -1 if there is no end.
  var milliseconds: Int32 {
    guard let end else { return -1 }
    let now = monotonicTime()
    return end > now ? Int32(clamping: (end - now + 999_999) / 1_000_000) : 0
  }

  /// Waits until a socket is ready for `events`. Returns false if the deadline passes first.
  public func wait(for socket: Int32, _ events: Int32) -> Bool {
    var poll = pollfd(fd: socket, events: Int16(events), revents: 0)
    while true {
      let ready = unsafe Glibc.poll(&poll, 1, milliseconds)
      if ready < 0 && errno == EINTR { continue }
      return ready > 0
    }
  }
}

extension Socket {
  /// Sends all bytes. Returns false if the other side is gone or does not take them in time.
  public static func send(
    _ bytes: UnsafeRawBufferPointer, to socket: Int32, by deadline: Deadline
  ) -> Bool {
    var done = 0
    while done < bytes.count {
      // SAFETY: `done` lies within `bytes`.
      let count = unsafe Glibc.send(
        socket, bytes.baseAddress.unsafelyUnwrapped + done, bytes.count - done,
        Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
      if count > 0 {
        done += count
      } else if count < 0 && errno == EINTR {
        continue
      } else {
        guard count < 0, errno == EAGAIN || errno == EWOULDBLOCK,
          deadline.wait(for: socket, POLLOUT)
        else { return false }
      }
    }
    return true
  }

  /// Receives bytes into `buffer`, and returns how many. Returns 0 if the other side is gone or
  /// sends nothing in time.
  public static func receive(
    into buffer: UnsafeMutableRawBufferPointer, from socket: Int32, by deadline: Deadline
  ) -> Int {
    while deadline.wait(for: socket, POLLIN) {
      let count = unsafe recv(
        socket, buffer.baseAddress, buffer.count, Int32(MSG_DONTWAIT))
      if count >= 0 { return count }
      guard errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK else { return 0 }
    }
    return 0
  }
}

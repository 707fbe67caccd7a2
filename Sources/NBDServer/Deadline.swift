import Glibc
import Primitives

/// A moment by which something is to be done, whatever the other side of a socket does. A timeout
/// of each call would begin anew with every byte that a client lets trickle.
public struct Deadline: Sendable {
  /// On the monotonic clock, in nanoseconds; nil: never.
  private let end: UInt64?

  /// So many seconds from now; 0: never.
  public init(seconds: Int) {
    end = seconds > 0 ? monotonicTime() + UInt64(seconds) * 1_000_000_000 : nil
  }

  /// For `poll`: milliseconds that are left, rounded up; -1: no end.
  var milliseconds: Int32 {
    guard let end else { return -1 }
    let now = monotonicTime()
    return end > now ? Int32(clamping: (end - now + 999_999) / 1_000_000) : 0
  }

  /// Waits until a socket is ready for `events`; false once the moment has come.
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
  /// Sends everything; false if the other side is gone or has not taken it in time.
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

  /// What came, at most `buffer` full; 0 if the other side is gone or sent nothing in time.
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

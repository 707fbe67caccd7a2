public import FoundationEssentials
import Glibc

/// A file descriptor that is closed with its last reference.
public final class OpenFile: Sendable {
  public let descriptor: Int32

  /// Takes the descriptor over.
  package init(_ descriptor: Int32) { self.descriptor = descriptor }

  /// Takes over the descriptor that a system call returned. Throws if the call failed; the error
  /// says `what` it was for.
  init(_ descriptor: Int32, _ what: @autoclosure () -> String) throws(ControlError) {
    self.descriptor = descriptor
    guard descriptor >= 0 else { throw ControlError(what(), errno: errno) }
  }

  /// Writes all of it.
  public func write(_ data: Data) throws(ControlError) {
    var done = 0
    while done < data.count {
      let put = unsafe data.withUnsafeBytes { bytes in
        unsafe Glibc.write(descriptor, bytes.baseAddress! + done, bytes.count - done)
      }
      if put < 0 && errno == EINTR { continue }
      guard put > 0 else { throw ControlError("write", errno: errno) }
      done += put
    }
  }

  deinit { if descriptor >= 0 { close(descriptor) } }
}

extension ControlError {
  /// A failed system call: what it was for, and the system's reason.
  init(_ what: String, errno code: Int32) {
    self.init("\(what): \(unsafe String(cString: strerror(code)))")
  }
}

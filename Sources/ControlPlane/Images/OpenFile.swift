public import FoundationEssentials
import Glibc
import Primitives

/// A file descriptor that is closed with its last reference, or before.
public final class OpenFile: Sendable {
  private let owned: OwnedDescriptor
  /// -1 once it is closed.
  public var descriptor: Int32 { owned.number }

  /// Takes the descriptor over.
  package init(_ descriptor: Int32) { owned = OwnedDescriptor(descriptor) }

  /// Takes over the descriptor that a system call returned. Throws if the call failed; the error
  /// says `what` it was for.
  init(_ descriptor: Int32, _ what: @autoclosure () -> String) throws(ControlError) {
    owned = OwnedDescriptor(descriptor)
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

  /// Closes the file when nobody uses it any more, whoever still has a reference.
  package func close() { owned.close() }
}

extension ControlError {
  /// A failed system call: what it was for, and the system's reason.
  init(_ what: String, errno code: Int32) {
    self.init("\(what): \(unsafe String(cString: strerror(code)))")
  }
}

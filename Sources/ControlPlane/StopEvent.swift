import CLinux
import Glibc

/// Tells work that waits for descriptors that the server stops. Its descriptor becomes readable,
/// and stays so.
public struct StopEvent: Sendable {
  package let descriptor: Int32

  /// Nil if the process has no descriptor left. The event lives as long as the process.
  public init?() {
    descriptor = hm_event_counter()
    guard descriptor >= 0 else { return nil }
  }

  public func signal() {
    var one: UInt64 = 1
    _ = unsafe write(descriptor, &one, 8)
  }
}

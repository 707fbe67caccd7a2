import Glibc
import Primitives

/// Limits the number of long requests and answers at the same time. Each takes many times its
/// length in memory while it is encoded, and stays until the client has sent or read it.
package final class MessageSlots: Sendable {
  /// The longest line that needs no slot, in bytes.
  static let small = 64 << 10
  /// The most disks for which an answer needs no slot.
  package static let fewDisks = 64
  private static let count: UInt64 = 4
  /// How long `take` waits for a slot, in milliseconds.
  private static let patience = 5000

  package init() {}

  /// (A) The number of slots in use.
  private let used = AtomicWord(0)

  package func take() throws(ControlError) {
    for _ in 0..<Self.patience {
      if used.add(1, .relaxed) < Self.count { return }
      used.subtract(1, .relaxed)
      usleep(1000)
    }
    throw ControlError(
      "the server is busy with \(Self.count) other long requests or answers; try again, or ask for "
        + "fewer disks at once")
  }

  package func give() { used.subtract(1, .relaxed) }
}

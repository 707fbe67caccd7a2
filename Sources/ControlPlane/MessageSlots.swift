import Glibc
import Primitives

/// How many long requests and answers there may be at the same time: each takes many times its length
/// while it is encoded, and stays as long as a client takes to send or to read it.
final class MessageSlots: Sendable {
  /// Up to this length, in bytes, a line needs no slot.
  static let small = 64 << 10
  /// Up to so many disks, an answer needs none.
  static let fewDisks = 64
  private static let count: UInt64 = 4
  /// Milliseconds that one waits for a slot.
  private static let patience = 5000

  /// (A) Slots in use.
  private let used = AtomicWord(0)

  func take() throws(ControlError) {
    for _ in 0..<Self.patience {
      if used.add(1, .relaxed) < Self.count { return }
      used.subtract(1, .relaxed)
      usleep(1000)
    }
    throw ControlError(
      "the server is busy with \(Self.count) other long requests or answers; try again, or ask for "
        + "fewer disks at once")
  }

  func give() { used.subtract(1, .relaxed) }
}

import Primitives

/// How much memory of a disk with a quota its clients may hold by replies that they do not read.
///
/// Such memory is sent from its frames. When it is discarded meanwhile it is the disk's no more and
/// counts for no quota, but is not free either: so a quarter of the quota is the most that may be held
/// so. What is beyond is copied into the connection's own buffer instead, which holds nothing.
///
/// - Thread safety: every method may be called on any thread.
final class PinAllowance: Sendable {
  /// (A) In bytes; `.max` without a quota.
  private let limit: AtomicWord
  /// (A) In bytes. At least what is held: a piece of a huge frame counts as all of it.
  private let held = AtomicWord(0)

  init(quota: UInt64?) { limit = AtomicWord(Self.limit(quota)) }

  private static func limit(_ quota: UInt64?) -> UInt64 { quota.map { $0 / 4 } ?? .max }

  func follow(quota: UInt64?) { limit.store(Self.limit(quota), .relaxed) }

  /// Without a quota nothing is counted.
  var isLimited: Bool { limit.load(.relaxed) != .max }

  /// In bytes.
  var bytesHeld: UInt64 { held.load(.relaxed) }

  /// False if that would be too much.
  func take(_ bytes: UInt64) -> Bool {
    if held.add(bytes, .relaxed) + bytes <= limit.load(.relaxed) { return true }
    held.subtract(bytes, .relaxed)
    return false
  }

  func give(_ bytes: UInt64) { if bytes > 0 { held.subtract(bytes, .relaxed) } }
}

import Primitives

/// How much memory of a disk with a quota its clients may hold by not reading their replies.
///
/// Large data is sent from its frames, which are held until then. If it is discarded meanwhile, it
/// is no longer the disk's and counts for no quota, but it is not free either. So clients may hold
/// at most a quarter of the quota in this way. Data beyond that is copied into the connection's own
/// buffer, which holds no frames.
///
/// - Thread safety: you may call every method on any thread.
final class PinAllowance: Sendable {
  /// (A) In bytes; `.max` without a quota.
  private let limit: AtomicWord
  /// (A) In bytes. An upper bound of what is held: a piece of a huge frame counts as all of it.
  private let held = AtomicWord(0)

  init(quota: UInt64?) { limit = AtomicWord(Self.limit(quota)) }

  private static func limit(_ quota: UInt64?) -> UInt64 { quota.map { $0 / 4 } ?? .max }

  func follow(quota: UInt64?) { limit.store(Self.limit(quota), .relaxed) }

  /// False without a quota; then nothing is counted.
  var isLimited: Bool { limit.load(.relaxed) != .max }

  /// In bytes.
  var bytesHeld: UInt64 { held.load(.relaxed) }

  /// Takes so many bytes. Returns false and takes nothing if that would be too much.
  func take(_ bytes: UInt64) -> Bool {
    if held.add(bytes, .relaxed) + bytes <= limit.load(.relaxed) { return true }
    held.subtract(bytes, .relaxed)
    return false
  }

  func give(_ bytes: UInt64) { if bytes > 0 { held.subtract(bytes, .relaxed) } }
}

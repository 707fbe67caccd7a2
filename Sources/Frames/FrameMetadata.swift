#if INTERLEAVE
  public import Interleave
#else
  public import Primitives
#endif

/// What the arena knows of one frame: 16 bytes, beside the frame and never inside it.
///
/// ```
///          word (A)                                  low (L)         high (L)
///  ┌──────────────┬───────┬────────────┐   ┌──────────────┬──────────────┐
///  │ references 32│ order │ state      │   │ next free    │ previous free│  (L) arena lock
///  └──────────────┴───────┴────────────┘   ├──────────────┼──────────────┤
///   bit 0                         bit 63   │ zero entries │ live entries │  (L) owner's lock
///                                          ├──────────────┼──────────────┤
///                                          │ head's number│ next queued  │  (L) splitLock: tail of a
///                                          ├──────────────┼──────────────┤  huge frame (link: part 1)
///                                          │ small maps   │ prev. queued │  (L) splitLock: its head
///                                          └──────────────┴──────────────┘
/// ```
/// The state bits change only under the arena's lock or by the only owner of a block;
/// references are atomic. Once a huge frame is mapped small, its head counts the references of
/// all parts, and each part counts its small mappings: a tail in its word, the head in `low`.
@frozen public struct FrameMetadata: ~Copyable {
  public let word: AtomicWord
  public var low: UInt32
  public var high: UInt32
}

@usableFromInline enum FrameState {
  @usableFromInline static let orderShift: UInt64 = 32
  /// The head of a free block.
  @usableFromInline static let free: UInt64 = 1 << 40
  /// With `free`: the system has just given these pages, they read as zeros.
  @usableFromInline static let clean: UInt64 = 1 << 41
  /// Part of an allocated huge frame, mapped small: `low` is the number of its head, which
  /// counts the references for all.
  @usableFromInline static let tail: UInt64 = 1 << 42
  /// Head of a huge frame whose tails are marked.
  @usableFromInline static let marked: UInt64 = 1 << 43
  /// Head of a marked frame that is in the queue of those to be split.
  @usableFromInline static let queued: UInt64 = 1 << 44

  @inlinable @inline(__always)
  static func order(_ word: UInt64) -> Int { Int(word >> orderShift & 0xf) }
  @inlinable @inline(__always)
  static func references(_ word: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: word) }
  @inlinable @inline(__always)
  static func allocated(order: Int) -> UInt64 { UInt64(order) << orderShift | 1 }
}

#if INTERLEAVE
  public import Interleave
#else
  public import Primitives
#endif

/// What the arena knows about one frame: 16 bytes, stored apart from the frame and never inside it.
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
/// The state bits change only under the arena's lock or by the only owner of a block. References
/// are atomic. Once a huge frame is mapped small, its head counts the references of all parts, and
/// each part counts its small mappings: a tail in its word, the head in `low`.
@frozen public struct FrameMetadata: ~Copyable {
  public let word: AtomicWord
  public var low: UInt32
  public var high: UInt32
}

@usableFromInline enum FrameState {
  @usableFromInline static let orderShift: UInt64 = 32
  /// The head of a free block.
  @usableFromInline static let free: UInt64 = 1 << 40
  /// With `free`: the block has no memory of the system behind it and reads as zeros.
  @usableFromInline static let clean: UInt64 = 1 << 41
  /// A part, other than the head, of a huge frame that is mapped small. `low` is the number of the
  /// head, which counts the references of all parts.
  @usableFromInline static let tail: UInt64 = 1 << 42
  /// The head of a huge frame whose other parts are tails.
  @usableFromInline static let marked: UInt64 = 1 << 43
  /// The head of a marked frame that is in the queue of frames to be split.
  @usableFromInline static let queued: UInt64 = 1 << 44

  @inlinable @inline(__always)
  static func order(_ word: UInt64) -> Int { Int(word >> orderShift & 0xf) }
  @inlinable @inline(__always)
  static func references(_ word: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: word) }
  @inlinable @inline(__always)
  static func allocated(order: Int) -> UInt64 { UInt64(order) << orderShift | 1 }
}

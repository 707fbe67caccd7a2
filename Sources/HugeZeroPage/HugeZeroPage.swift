#if INTERLEAVE
  public import Interleave
#else
  public import Primitives
#endif

/// Allocates and frees the frame of a zero page. A conforming type handles one huge frame as a
/// whole and counts no references.
public protocol ZeroFrameSource {
  /// Allocates a huge frame of zeros that nobody who maps it can write. Returns nil if there is
  /// none.
  func allocateZeroFrame() -> UInt32?
  /// Frees a frame that `allocateZeroFrame` returned, with the order it was allocated with.
  func freeZeroFrame(_ frame: UInt32)
}

/// The result of a `get`.
@frozen public enum ZeroPageReference: Equatable, Sendable {
  /// The page existed, and references were added to it.
  case shared(UInt32)
  /// This call allocated the page and published it.
  case published(UInt32)
  /// There is no page and none can be allocated. The caller holds no reference.
  case unavailable
}

/// A reference-counted huge page of zeros. The first `get` allocates it, and the shrinker frees it
/// when nobody holds it. Kernel counterpart: `get_huge_zero_page`, `put_huge_zero_page` and
/// `shrink_huge_zero_page_{count,scan}` (mm/huge_memory.c, 2012).
///
/// ```
///   63            32 31             0
///  ┌────────────────┬────────────────┐   count 0: no page, and the whole word is 0
///  │ frame number   │ count          │   count 1: only the shrinker's reference is left
///  └────────────────┴────────────────┘   count 1 + n: n references are held
/// ```
///
/// **Why one word.** One compare-and-swap changes frame and count together. So there is no window
/// in which a descheduled publisher or shrinker makes the others allocate in vain (history items
/// 11 and 23): whenever a compare-and-swap fails, some other thread's succeeded. Frame 0 is not
/// a legal frame, so a word of 0 is unambiguous (item 4).
///
/// - Thread safety: every operation may run on any thread at any time. All are lock-free, and
///   none allocates an object.
public struct HugeZeroPage: ~Copyable, Sendable {
  /// (A) `frame << 32 | count`.
  @usableFromInline let word = AtomicWord(0)

  /// Starts without a page. The first `get` allocates it.
  public init() {}

  @inlinable @inline(__always)
  static func count(_ word: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: word) }
  @inlinable @inline(__always)
  static func frame(_ word: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: word >> 32) }

  /// The limit of the reference count. Beyond it `get` traps; the count never wraps (invariant 18).
  public static var maximalCount: UInt32 { UInt32.max >> 1 }

  // Inlined because nearly all callers take one reference, which makes half of the checks
  // constants.
  /// Takes `count` references at once. Allocates the page if there is none.
  ///
  /// - Complexity: one compare-and-swap without contention. A failed one means that another thread
  ///   succeeded.
  @inlinable @inline(__always)
  public borrowing func get(
    count references: UInt32 = 1, from source: borrowing some ZeroFrameSource
  ) -> ZeroPageReference {
    precondition(references > 0 && references < Self.maximalCount, "zero page: bad batch")
    var fresh: UInt32 = 0
    var seen = word.load(.relaxed)
    while true {
      if seen != 0 {
        precondition(
          Self.count(seen) < Self.maximalCount - references, "zero page: reference count overflow")
        // `acquire` pairs with the `release` of the publication below: a thread that sees the
        // count also sees the cleared page (invariant 3).
        let swap = word.compareExchange(seen, seen + UInt64(references), .acquire)
        if swap.exchanged {
          // This call lost the race after allocating. Its frame goes back whole and was never
          // counted (items 1 and 22).
          if fresh != 0 { source.freeZeroFrame(fresh) }
          return .shared(Self.frame(seen))
        }
        seen = swap.original
      } else {
        if fresh == 0 {
          guard let frame = source.allocateZeroFrame() else {
            // Another thread may have published in the meantime: look again before giving up.
            seen = word.load(.relaxed)
            if seen != 0 { continue }
            return .unavailable
          }
          precondition(frame != 0, "zero page: frame 0 means no page and is not a legal frame")
          fresh = frame
        }
        // One more reference, for the shrinker. `release` pairs with the `acquire` above. `acquire`
        // pairs with the shrinker's `release`: what the holders of the last page did comes before.
        let published = UInt64(fresh) << 32 | UInt64(references) + 1
        let swap = word.compareExchange(0, published, .acquireRelease)
        if swap.exchanged { return .published(fresh) }
        seen = swap.original
      }
    }
  }

  /// Takes `count` more references. The caller must hold a reference, which keeps the page
  /// published, so this never allocates (invariant 13). Returns the page's frame.
  @inlinable
  public borrowing func getHeld(count references: UInt32 = 1) -> UInt32 {
    let before = word.add(UInt64(references), .relaxed)
    precondition(Self.count(before) > 1, "zero page: copied without a reference")
    precondition(
      Self.count(before) < Self.maximalCount - references, "zero page: reference count overflow")
    return Self.frame(before)
  }

  /// Drops `count` references. The shrinker holds one, so the count never reaches 0 here; if it
  /// would, that is a bug and this traps (invariant 1).
  @inlinable
  public borrowing func put(count references: UInt32 = 1) {
    // `release` pairs with the `acquire` of the shrinker: all reads through this reference happen
    // before the free.
    let before = word.subtract(UInt64(references), .release)
    precondition(Self.count(before) > references, "zero page: put without a get")
  }

  /// The number of huge pages that `shrinkerScan` could free now: 1 or 0.
  @inlinable
  public borrowing func shrinkerCount() -> Int { Self.count(word.load(.relaxed)) == 1 ? 1 : 0 }

  /// Frees the page if only the shrinker's own reference is left. Returns the number of pages
  /// freed.
  @inlinable
  public borrowing func shrinkerScan(to source: borrowing some ZeroFrameSource) -> Int {
    let seen = word.load(.relaxed)
    guard Self.count(seen) == 1 else { return 0 }
    // One step clears count and frame (item 11). `acquire` pairs with the `release` of put.
    guard word.compareExchange(seen, 0, .acquireRelease).exchanged else { return 0 }
    source.freeZeroFrame(Self.frame(seen))
    return 1
  }

  /// The state at one instant: the frame (0 for none) and the count, including the shrinker's
  /// reference.
  @inlinable
  public borrowing func snapshot() -> (frame: UInt32, count: UInt32) {
    let seen = word.load(.relaxed)
    return (Self.frame(seen), Self.count(seen))
  }
}

public import Frames
#if INTERLEAVE
  public import Interleave
#else
  public import Primitives
#endif

/// A page table: one 4 KiB frame of 512 atomic entries. Entries refer to frames by number and hold
/// no pointers, so tables do not depend on where the arena is mapped.
///
/// Locking: the entries of a table that one space owns change under that space's lock. Readers load
/// them without a lock. A table that several spaces share does not change, except that its entries
/// lose their `W` and `C` when one of the sharers copies it.
@safe @frozen public struct Table {
  public let frame: FrameNumber
  @usableFromInline let entries: AtomicWordPointer
  /// (L) the owner's lock: the numbers of zero entries and of live entries.
  @usableFromInline let counts: UnsafeMutablePointer<UInt32>

  public static var count: Int {
    @inlinable @inline(__always) get { FrameGeometry.framesPerHuge }
  }

  @inlinable @inline(__always)
  public init(_ frame: FrameNumber, in arena: Arena) {
    self.frame = frame
    unsafe entries = arena.address(frame).assumingMemoryBound(to: AtomicWord.self)
    unsafe counts = arena.counts(of: frame)
  }

  /// Loads an entry once. Callers make every decision on the value returned (history item 5).
  /// `acquire` pairs with the `release` in `set`: whoever sees the entry also sees the contents of
  /// its frame.
  @inlinable @inline(__always)
  public subscript(_ index: Int) -> Entry { unsafe Entry(raw: entries[index].load(.acquire)) }

  /// Replaces an entry and updates the table's counts. Only under the owner's lock.
  @inlinable @inline(__always)
  public func set(_ index: Int, _ entry: Entry) {
    let old = unsafe entries[index].load(.relaxed)
    if old & 7 == Entry.zero.raw { unsafe counts[0] &-= 1 }
    if old != 0 { unsafe counts[1] &-= 1 }
    if entry.kind == .zero { unsafe counts[0] += 1 }
    if entry.raw != 0 { unsafe counts[1] += 1 }
    unsafe entries[index].store(entry.raw, .release)
  }

  /// Clears `W` and `C` in an entry of a table that may be shared. Sharers may do this at the same
  /// time, since all of them store the same value.
  @inlinable @inline(__always)
  public func protect(_ index: Int) {
    unsafe entries[index].store(self[index].shared.raw, .release)
  }

  /// The number of zero entries. Read it under the owner's lock, or when nobody owns the table.
  @inlinable public var zeroEntries: UInt32 { unsafe counts[0] }
  /// The number of entries that are not `none`. Read it as `zeroEntries`.
  @inlinable public var liveEntries: UInt32 { unsafe counts[1] }

  /// Makes a table without entries. Returns nil if the arena's limit is reached. `own` is as in
  /// `Arena.allocate`. `urgent` allows the use of the arena's reserve.
  public static func make(in arena: Arena, own: Int = 0, urgent: Bool = false) -> Table? {
    guard let frame = arena.allocateSmallZeroed(own: own, urgent: urgent) else { return nil }
    let table = Table(frame, in: arena)
    unsafe table.counts[0] = 0
    unsafe table.counts[1] = 0
    return table
  }
}

/// The shape of the radix tree. A slot of a level 1 table maps 4 KiB, of a level 2 table 2 MiB, and
/// so on.
public enum Radix {
  public static let topLevel = 4

  /// The lowest level whose table covers `size` bytes. At least 2, the level of huge entries.
  public static func level(forSize size: UInt64) -> Int {
    var level = 2
    while level < topLevel, span(level + 1) < size { level += 1 }
    return level
  }

  /// Bytes that one slot of a table of this level maps. A whole table maps `span(level + 1)`.
  @inlinable @inline(__always)
  public static func span(_ level: Int) -> UInt64 { 1 << UInt64(shift(level)) }

  /// The start of the slot, of a table of this level, that contains an offset.
  @inlinable @inline(__always)
  public static func start(_ offset: UInt64, _ level: Int) -> UInt64 { offset & ~(span(level) - 1) }

  /// The number of low bits of an offset that do not select the slot.
  @inlinable @inline(__always)
  static func shift(_ level: Int) -> Int {
    FrameGeometry.frameShift &+ FrameGeometry.hugeOrder &* (level &- 1)
  }

  /// The index of the slot that contains an offset.
  @inlinable @inline(__always)
  public static func index(_ offset: UInt64, _ level: Int) -> Int {
    Int(truncatingIfNeeded: offset &>> UInt64(truncatingIfNeeded: shift(level))) & (Table.count - 1)
  }
}

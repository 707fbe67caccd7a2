public import Frames
#if INTERLEAVE
  public import Interleave
#else
  public import Primitives
#endif

/// A page table: one 4 KiB frame of 512 atomic entries. Entries link by frame number, so tables
/// need no pointer fixed anywhere.
///
/// Locking: entries of a table that one space owns change under that space's lock; readers load
/// them without. A table that several spaces share does not change, except that its entries
/// lose their `W` and `C` when one of the sharers copies it.
@safe @frozen public struct Table {
  public let frame: FrameNumber
  @usableFromInline let entries: AtomicWordPointer
  /// (L) the owner's lock: zero entries, live entries.
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

  /// `load` of an entry, once; every decision is made on the value returned (history item 5).
  /// `acquire` pairs with the `release` in `set`: the frame's contents come with the entry.
  @inlinable @inline(__always)
  public subscript(_ index: Int) -> Entry { unsafe Entry(raw: entries[index].load(.acquire)) }

  /// Replaces an entry and keeps the table's counts. Only under the owner's lock.
  @inlinable @inline(__always)
  public func set(_ index: Int, _ entry: Entry) {
    let old = unsafe entries[index].load(.relaxed)
    if old & 7 == Entry.zero.raw { unsafe counts[0] &-= 1 }
    if old != 0 { unsafe counts[1] &-= 1 }
    if entry.kind == .zero { unsafe counts[0] += 1 }
    if entry.raw != 0 { unsafe counts[1] += 1 }
    unsafe entries[index].store(entry.raw, .release)
  }

  /// Takes the `W` and `C` from an entry of a table that may be shared: all sharers store the same.
  @inlinable @inline(__always)
  public func protect(_ index: Int) {
    unsafe entries[index].store(self[index].shared.raw, .release)
  }

  /// Zero entries in this table. Under the owner's lock, or when nobody owns it.
  @inlinable public var zeroEntries: UInt32 { unsafe counts[0] }
  /// Entries in this table that are not none.
  @inlinable public var liveEntries: UInt32 { unsafe counts[1] }

  /// A new table without entries; nil at the arena's limit. `own`: as of `Arena.allocate`.
  /// `urgent`: from the arena's reserve if need be.
  public static func make(in arena: Arena, own: Int = 0, urgent: Bool = false) -> Table? {
    guard let frame = arena.allocateSmallZeroed(own: own, urgent: urgent) else { return nil }
    let table = Table(frame, in: arena)
    unsafe table.counts[0] = 0
    unsafe table.counts[1] = 0
    return table
  }
}

/// The radix tree's shape. Level 1 tables map 4 KiB a slot, level 2 tables 2 MiB, and so on.
public enum Radix {
  public static let topLevel = 4

  /// The lowest level whose table covers `size` bytes; at least 2, where huge entries live.
  public static func level(forSize size: UInt64) -> Int {
    var level = 2
    while level < topLevel, span(level + 1) < size { level += 1 }
    return level
  }

  /// Bytes that one slot of a table of this level maps; `span(level + 1)` is a whole table's.
  @inlinable @inline(__always)
  public static func span(_ level: Int) -> UInt64 { 1 << UInt64(shift(level)) }

  /// Where the slot of a table of this level that an offset lies in begins.
  @inlinable @inline(__always)
  public static func start(_ offset: UInt64, _ level: Int) -> UInt64 { offset & ~(span(level) - 1) }

  /// Bits of an offset below those that choose the slot.
  @inlinable @inline(__always)
  static func shift(_ level: Int) -> Int {
    FrameGeometry.frameShift &+ FrameGeometry.hugeOrder &* (level &- 1)
  }

  /// The slot for an offset.
  @inlinable @inline(__always)
  public static func index(_ offset: UInt64, _ level: Int) -> Int {
    Int(truncatingIfNeeded: offset &>> UInt64(truncatingIfNeeded: shift(level))) & (Table.count - 1)
  }
}

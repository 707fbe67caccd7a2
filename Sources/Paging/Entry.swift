public import Frames

/// One entry of a table.
///
/// ```
///  63        44 43                12 11 10  9   8   7   6  5   4   3  2    0
/// ┌────────────┬────────────────────┬─────┬───┬───┬───┬───┬───┬───┬───┬──────┐
/// │     0      │ frame number       │  0  │ C │ K │ N │ 0 │ A │ D │ W │ kind │
/// └────────────┴────────────────────┴─────┴───┴───┴───┴───┴───┴───┴───┴──────┘
/// ```
/// The kind is part of the entry, so «zero» cannot be mistaken for memory (history items 10 and
/// 13), and it is never writable or dirty (item 9). `W` on a table entry means: nobody else
/// refers to that table; on a frame entry: nobody else refers to that frame. A path of `W`s down
/// from the root may be written without looking at any reference count, and its mapping allows it.
/// `N`: the mapping allows no access; what is mapped stays, as with the kernel's `PROT_NONE`.
/// `K`: the frame is to be kept, though it may read as zeros: somebody asked for the memory.
/// `C`: what it names was taken by the space whose tables these are, and nobody shares it: it counts
/// in the space's charge. It comes with `W`, but stays where only the mapping or a wait takes the
/// `W`; being shared takes both.
@frozen public struct Entry: Equatable, Sendable {
  @frozen public enum Kind: UInt64, Sendable {
    case none = 0, zero = 1, huge = 2, small = 3, table = 4
  }

  public let raw: UInt64

  @inlinable @inline(__always) public init(raw: UInt64) { self.raw = raw }

  public static var none: Entry { @inlinable @inline(__always) get { Entry(raw: 0) } }
  public static var zero: Entry { @inlinable @inline(__always) get { Entry(raw: 1) } }
  public static var writableBit: UInt64 { @inlinable @inline(__always) get { 1 << 3 } }
  public static var dirtyBit: UInt64 { @inlinable @inline(__always) get { 1 << 4 } }
  public static var hiddenBit: UInt64 { @inlinable @inline(__always) get { 1 << 7 } }
  public static var keptBit: UInt64 { @inlinable @inline(__always) get { 1 << 8 } }
  public static var chargedBit: UInt64 { @inlinable @inline(__always) get { 1 << 9 } }

  @inlinable @inline(__always)
  public init(_ kind: Kind, _ frame: FrameNumber, writable: Bool) {
    precondition(kind == .huge || kind == .small || kind == .table, "entry: the kind maps no frame")
    raw =
      kind.rawValue | UInt64(frame) << 12
      | (writable
        ? Entry.writableBit | Entry.chargedBit | (kind == .table ? 0 : Entry.dirtyBit) : 0)
  }

  @inlinable @inline(__always)
  public var kind: Kind { unsafe unsafeBitCast(UInt8(truncatingIfNeeded: raw & 7), to: Kind.self) }
  @inlinable @inline(__always)
  public var frame: FrameNumber { FrameNumber(truncatingIfNeeded: raw >> 12) }
  @inlinable @inline(__always)
  public var isWritable: Bool { raw & Entry.writableBit != 0 }
  @inlinable @inline(__always)
  public var isWritableTable: Bool { raw & 0xf == Kind.table.rawValue | Entry.writableBit }
  /// Whether it is of this kind and may be accessed.
  @inlinable @inline(__always)
  public func isVisible(_ kind: Kind) -> Bool { raw & (Entry.hiddenBit | 7) == kind.rawValue }
  @inlinable @inline(__always)
  public var isHidden: Bool { raw & Entry.hiddenBit != 0 }
  /// The same mapping, to be copied before it is written.
  @inlinable @inline(__always)
  public var protected: Entry { Entry(raw: raw & ~Entry.writableBit) }
  @inlinable @inline(__always)
  public var madeWritable: Entry { Entry(raw: raw | Entry.writableBit | Entry.chargedBit) }
  @inlinable @inline(__always)
  public var isCharged: Bool { raw & Entry.chargedBit != 0 }
  /// The same mapping, in the charge of the space.
  @inlinable public var charged: Entry { Entry(raw: raw | Entry.chargedBit) }
  /// The same mapping as one of several spaces: to be copied before it is written, in nobody's charge.
  @inlinable @inline(__always)
  public var shared: Entry { Entry(raw: raw & ~(Entry.writableBit | Entry.chargedBit)) }
  /// Whether reclaim must leave the frame to this entry, and the same mapping so marked.
  @inlinable public var isKept: Bool { raw & Entry.keptBit != 0 }
  @inlinable public func kept(_ isKept: Bool = true) -> Entry {
    Entry(raw: isKept ? raw | Entry.keptBit : raw)
  }
  /// The same mapping without access, and with it again.
  @inlinable public var hidden: Entry {
    Entry(raw: raw & ~Entry.writableBit | Entry.hiddenBit)
  }
  @inlinable public var shown: Entry { Entry(raw: raw & ~Entry.hiddenBit) }
}

public import Frames

/// One entry of a table.
///
/// ```
///  63        44 43                12 11 10  9   8   7   6  5   4   3  2    0
/// ┌────────────┬────────────────────┬─────┬───┬───┬───┬───┬───┬───┬───┬──────┐
/// │ check code │ frame number       │  0  │ C │ K │ N │ 0 │ A │ D │ W │ kind │
/// └────────────┴────────────────────┴─────┴───┴───┴───┴───┴───┴───┴───┴──────┘
/// ```
/// The kind is part of the entry, so a zero entry cannot be mistaken for memory (history items 10
/// and 13). A zero entry is never writable or dirty (item 9).
///
/// The check code is a hash of kind and frame. Nothing reads it but a recovery of memory that outlived
/// its process (`init(recovering:)`): an entry with a flipped bit must not lead to somebody else's
/// memory. The bits:
///
/// - `W` (writable): nobody else refers to the table or frame that the entry names. If every entry
///   on the path from the root has `W`, the memory may be written without a look at any reference
///   count, and the mapping allows writing.
/// - `N` (hidden): the mapping allows no access. What is mapped stays, as with the kernel's
///   `PROT_NONE`.
/// - `K` (kept): reclaim must not take the frame even if it reads as zeros, because somebody asked
///   for the memory.
/// - `C` (charged): the space that owns these tables took the frame or table that the entry names,
///   and nobody shares it. It counts in the space's charge. An entry gets `C` together with `W`. It
///   keeps `C` when a change of the mapping, or a wait for writers to leave, takes only `W`.
///   Sharing takes both.
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
      kind.rawValue | UInt64(frame) << 12 | Entry.checkCode(kind.rawValue, frame)
      | (writable
        ? Entry.writableBit | Entry.chargedBit | (kind == .table ? 0 : Entry.dirtyBit) : 0)
  }

  /// The high 20 bits of the product of what it is for and an odd constant, in their place.
  @inlinable @inline(__always)
  static func checkCode(_ kind: UInt64, _ frame: FrameNumber) -> UInt64 {
    (UInt64(frame) << 3 | kind) &* 0x9e37_79b9_7f4a_7c15 & ~(1 << 44 - 1)
  }

  /// The entry that a word of a table was, or nil if it is none that a writer can have stored. Zero
  /// entries become none, since the zero page does not outlive its process, and `W`, `C` and `N` go,
  /// since they follow from what is counted anew.
  public init?(recovering raw: UInt64) {
    let kind = raw & 7
    guard kind > Kind.zero.rawValue else {
      // One that names a frame was of another kind, before a bit flipped.
      guard raw >> 12 == 0 else { return nil }
      self = .none
      return
    }
    guard kind <= Kind.table.rawValue else { return nil }
    let frame = FrameNumber(truncatingIfNeeded: raw >> 12)
    guard raw & ~(1 << 44 - 1) == Entry.checkCode(kind, frame) else { return nil }
    self.raw =
      raw & ~(Entry.writableBit | Entry.chargedBit | Entry.hiddenBit | 1 << 5 | 1 << 6 | 3 << 10)
  }

  @inlinable @inline(__always)
  public var kind: Kind { unsafe unsafeBitCast(UInt8(truncatingIfNeeded: raw & 7), to: Kind.self) }
  @inlinable @inline(__always)
  public var frame: FrameNumber { FrameNumber(truncatingIfNeeded: raw >> 12) }
  @inlinable @inline(__always)
  public var isWritable: Bool { raw & Entry.writableBit != 0 }
  @inlinable @inline(__always)
  public var isWritableTable: Bool { raw & 0xf == Kind.table.rawValue | Entry.writableBit }
  /// Whether the entry is of this kind and the mapping allows access.
  @inlinable @inline(__always)
  public func isVisible(_ kind: Kind) -> Bool { raw & (Entry.hiddenBit | 7) == kind.rawValue }
  @inlinable @inline(__always)
  public var isHidden: Bool { raw & Entry.hiddenBit != 0 }
  /// The same mapping, without `W`: it has to be copied before it is written.
  @inlinable @inline(__always)
  public var protected: Entry { Entry(raw: raw & ~Entry.writableBit) }
  @inlinable @inline(__always)
  public var madeWritable: Entry { Entry(raw: raw | Entry.writableBit | Entry.chargedBit) }
  @inlinable @inline(__always)
  public var isCharged: Bool { raw & Entry.chargedBit != 0 }
  /// The same mapping, counted in the charge of the space.
  @inlinable public var charged: Entry { Entry(raw: raw | Entry.chargedBit) }
  /// The same mapping, shared by several spaces: it has to be copied before it is written and
  /// counts in no space's charge.
  @inlinable @inline(__always)
  public var shared: Entry { Entry(raw: raw & ~(Entry.writableBit | Entry.chargedBit)) }
  /// Whether reclaim must not take the frame from this entry.
  @inlinable public var isKept: Bool { raw & Entry.keptBit != 0 }
  /// The same mapping, marked as kept if `isKept`.
  @inlinable public func kept(_ isKept: Bool = true) -> Entry {
    Entry(raw: isKept ? raw | Entry.keptBit : raw)
  }
  /// The same mapping without access.
  @inlinable public var hidden: Entry {
    Entry(raw: raw & ~Entry.writableBit | Entry.hiddenBit)
  }
  /// The same mapping with access again.
  @inlinable public var shown: Entry { Entry(raw: raw & ~Entry.hiddenBit) }
}

import Frames
import Paging

/// A range of one kind.
public struct Extent: Sendable, Equatable {
  /// Holes, zeros and data are told apart everywhere (history item 16).
  public enum Kind: Sendable {
    /// Untouched: nothing is mapped.
    case hole
    /// Read but never written: mapped by the zero page.
    case zero
    /// Written, or reserved: has memory of its own, or shared with a fork.
    case data
  }
  /// In bytes, from the start of the space.
  public var offset: UInt64
  /// In bytes.
  public var length: UInt64
  /// What all of the range is.
  public var kind: Kind

  /// The offset of the first byte behind it.
  public var end: UInt64 { offset + length }
}

extension AddressSpace {
  /// Reports a range as extents, in order, adjacent ones of a kind joined; `body` returns false
  /// to stop. It runs outside any lock or section, and may use this space.
  ///
  /// - Complexity: O(entries in the range); untouched ranges count once a table.
  public func walk(
    at offset: UInt64, length: UInt64, _ body: (Extent) -> Bool
  ) throws(MemoryError) {
    try check(offset, length)
    let end = offset + length
    var at = offset
    while at < end {
      let extent = extent(at, end: end)
      guard body(extent) else { return }
      at = extent.end
    }
  }

  /// The first extent of a range that is not empty: a walk by hand.
  public func firstExtent(at offset: UInt64, length: UInt64) throws(MemoryError) -> Extent {
    try check(offset, length)
    precondition(length > 0, "walk: an empty range has no extent")
    return extent(offset, end: offset + length)
  }

  /// The extent that starts at `offset`, up to `end`; the caller has checked the range. Sections
  /// stay short: one per 2 MiB slot.
  private func extent(_ offset: UInt64, end: UInt64) -> Extent {
    var (kind, at) = kind(offset, upTo: end)
    while at < end {
      let next = self.kind(at, upTo: end)
      guard next.kind == kind else { break }
      at = next.end
    }
    at = min(at, end)
    return Extent(offset: offset, length: at - offset, kind: kind)
  }

  /// The kind of memory at `offset`, and up to where a table shows it at one look; it does not
  /// look beyond `end`.
  func kind(_ offset: UInt64, upTo end: UInt64) -> (kind: Extent.Kind, end: UInt64) {
    let section = grace.enter()
    let found = mappedKind(offset, end)
    section.leave()
    return found
  }

  /// Within a section.
  private func mappedKind(_ offset: UInt64, _ limit: UInt64) -> (kind: Extent.Kind, end: UInt64) {
    var entry = Entry(raw: root.load(.acquire))
    var depth = level + 1
    while entry.kind == .table {
      depth -= 1
      let table = Table(entry.frame, in: arena)
      entry = table[Radix.index(offset, depth)]
      if depth == 1 { return smallRun(table, offset, limit) }
    }
    // Before the first look the root itself is the entry: it spans the whole space.
    let end = depth > Radix.topLevel ? UInt64.max : (offset | (Radix.span(depth) - 1)) + 1
    return (Self.kind(of: entry), end)
  }

  private func smallRun(
    _ table: Table, _ offset: UInt64, _ limit: UInt64
  ) -> (kind: Extent.Kind, end: UInt64) {
    var index = Radix.index(offset, 1)
    let kind = Self.kind(of: table[index])
    let base = Radix.start(offset, 2)
    let last = min(UInt64(Table.count), (limit - base + Radix.span(1) - 1) / Radix.span(1))
    repeat { index += 1 } while index < Int(last) && Self.kind(of: table[index]) == kind
    return (kind, base + UInt64(index) * Radix.span(1))
  }

  static func kind(of entry: Entry) -> Extent.Kind {
    switch entry.kind {
    case .none: .hole
    case .zero: .zero
    default: .data
    }
  }

  /// The first slot of 2 MiB at or behind an offset whose entry is of a kind that is wanted. Scanners
  /// go from one to the next; holes are passed at a stride.
  func nextSlot(from offset: UInt64, _ isWanted: (Entry.Kind) -> Bool) -> UInt64? {
    var at = offset
    while at < size {
      let section = grace.enter()
      let (found, span) = slotOrHole(at)
      section.leave()
      if isWanted(found) { return Radix.start(at, 2) }
      at = (at | (span - 1)) + 1
    }
    return nil
  }

  /// Within a section: the kind of a slot's entry, and how much around it is of one entry.
  private func slotOrHole(_ offset: UInt64) -> (kind: Entry.Kind, span: UInt64) {
    var entry = Entry(raw: root.load(.acquire))
    var depth = level
    while entry.kind == .table && depth > 1 {
      entry = Table(entry.frame, in: arena)[Radix.index(offset, depth)]
      depth -= 1
    }
    return (entry.kind, Radix.span(depth + 1))
  }
}

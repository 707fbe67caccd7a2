import Frames
import Paging

/// A range of memory of one kind. ``AddressSpace/extents(in:)`` finds them.
public struct Extent: Sendable, Equatable {
  /// What memory is: a hole, zeros or data. They are different kinds everywhere (history item 16).
  public enum Kind: Sendable {
    /// Untouched: nothing is mapped.
    case hole
    /// Read but never written: the zero page is mapped.
    case zero
    /// Written or reserved: has memory of its own, or memory shared with a fork.
    case data
  }
  /// In bytes, from the start of the space.
  package var offset: UInt64
  /// In bytes.
  package var length: UInt64
  /// The kind of the whole range.
  public package(set) var kind: Kind

  /// Where the memory is, in bytes from the start of the space.
  public var range: Range<UInt64> { offset..<end }

  /// The offset of the first byte after the range.
  package var end: UInt64 { offset + length }
}

/// The extents of a range, in order. Each is looked up when the iterator gets there.
public struct Extents: Sequence, Sendable {
  fileprivate let space: AddressSpace
  fileprivate let range: Range<UInt64>

  /// Starts again at the beginning of the range.
  public func makeIterator() -> Iterator { Iterator(space: space, left: range) }

  /// Walks through the extents. It holds no lock, so you may use the space between two calls.
  public struct Iterator: IteratorProtocol, Sendable {
    fileprivate let space: AddressSpace
    fileprivate var left: Range<UInt64>

    /// The next extent, as the memory is now; nil at the end of the range.
    ///
    /// - Complexity: O(entries in the extent). A part that is untouched counts once for each table.
    public mutating func next() -> Extent? {
      guard !left.isEmpty else { return nil }
      let extent = space.extent(left.lowerBound, end: left.upperBound)
      left = extent.end..<left.upperBound
      return extent
    }
  }
}

extension AddressSpace {
  /// Where a range has data, zeros and holes. Adjacent memory of one kind is one extent, and the
  /// extents cover the range without gaps.
  ///
  /// ```swift
  /// for extent in try space.extents(in: space.bounds) where extent.kind == .data {
  ///   print(extent.range)
  /// }
  /// ```
  ///
  /// Other threads may write meanwhile. Each extent is of some moment during the step that finds it.
  /// Throws `outOfRange` if the range does not lie within the space.
  ///
  /// - Complexity: O(1). A walk through all extents takes O(entries in the range).
  /// - Thread safety: takes no lock, and neither does the iterator.
  public func extents(in range: Range<UInt64>) throws(MemoryError) -> Extents {
    try check(range.lowerBound, range.upperBound - range.lowerBound)
    return Extents(space: self, range: range)
  }

  /// Reports a range as extents, in order. `body` returns false to stop. It runs outside of any lock
  /// or section, and may use this space.
  package func walk(
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

  /// The first extent of a range, which must not be empty. Use this to walk by hand.
  package func firstExtent(at offset: UInt64, length: UInt64) throws(MemoryError) -> Extent {
    try check(offset, length)
    precondition(length > 0, "walk: an empty range has no extent")
    return extent(offset, end: offset + length)
  }

  /// The extent that starts at `offset`, at most up to `end`. The caller has checked the range.
  /// Sections stay short: one for each 2 MiB slot.
  fileprivate func extent(_ offset: UInt64, end: UInt64) -> Extent {
    let (kind, at) = Self.longest(offset, end) { self.kind($0, upTo: end) }
    return Extent(offset: offset, length: at - offset, kind: kind)
  }

  /// Joins looks: what `look` finds at `offset`, and how far it finds the same, at most up to `end`.
  /// `look` returns the end of the part that it has seen.
  @inline(__always)
  static func longest<Class: Equatable>(
    _ offset: UInt64, _ end: UInt64, _ look: (UInt64) -> (Class, UInt64)
  ) -> (Class, UInt64) {
    var (found, at) = look(offset)
    while at < end {
      let (next, limit) = look(at)
      guard next == found else { break }
      at = limit
    }
    return (found, min(at, end))
  }

  /// The kind of memory at `offset`, and the end of the part of that kind that one look at a table
  /// shows. Does not look beyond `end`.
  func kind(_ offset: UInt64, upTo end: UInt64) -> (kind: Extent.Kind, end: UInt64) {
    look(offset, upTo: end) { Self.kind(of: $0) }
  }

  /// What `classify` makes of the entry at `offset`, and the end of the part where one look at a
  /// table shows the same. Does not look beyond `limit`.
  @inline(__always)
  func look<Class: Equatable>(
    _ offset: UInt64, upTo limit: UInt64, _ classify: (Entry) -> Class
  ) -> (Class, UInt64) {
    let section = grace.enter()
    let found = lookWithin(offset, limit, classify)
    section.leave()
    return found
  }

  @inline(__always)
  private func lookWithin<Class: Equatable>(
    _ offset: UInt64, _ limit: UInt64, _ classify: (Entry) -> Class
  ) -> (Class, UInt64) {
    var entry = Entry(raw: root.load(.acquire))
    var depth = level + 1
    while entry.kind == .table {
      depth -= 1
      let table = Table(entry.frame, in: arena)
      var index = Radix.index(offset, depth)
      entry = table[index]
      guard depth == 1 else { continue }
      let found = classify(entry)
      let base = Radix.start(offset, 2)
      let last = Int(min(UInt64(Table.count), (limit - base + Radix.span(1) - 1) / Radix.span(1)))
      repeat { index += 1 } while index < last && classify(table[index]) == found
      return (found, base + UInt64(index) * Radix.span(1))
    }
    return (classify(entry), Self.end(offset, depth))
  }

  /// The end of the slot at `offset` of a table of level `depth`. If the root is no table, it is the
  /// entry itself and spans the whole space.
  static func end(_ offset: UInt64, _ depth: Int) -> UInt64 {
    depth > Radix.topLevel ? UInt64.max : (offset | (Radix.span(depth) - 1)) + 1
  }

  static func kind(of entry: Entry) -> Extent.Kind {
    switch entry.kind {
    case .none: .hole
    case .zero: .zero
    default: .data
    }
  }

  /// The first 2 MiB slot at or after an offset whose entry is of a wanted kind. Scanners go from
  /// one to the next. Each hole is skipped in one step.
  func nextSlot(from offset: UInt64, _ isWanted: (Entry.Kind) -> Bool) -> UInt64? {
    var at = offset
    while at < size {
      let section = grace.enter()
      let (found, span) = entryOrHole(at)
      section.leave()
      if isWanted(found.kind) { return Radix.start(at, 2) }
      at = (at | (span - 1)) + 1
    }
    return nil
  }

  /// The first 2 MiB slot of a range that has a table or a huge frame, and the number of that frame.
  package func nextMapped(in range: Range<UInt64>) -> (slot: UInt64, frame: FrameNumber)? {
    var at = range.lowerBound
    let end = min(range.upperBound, size)
    while at < end {
      let section = grace.enter()
      let (found, span) = entryOrHole(at)
      section.leave()
      if found.kind == .table || found.kind == .huge {
        return (Radix.start(at, 2), found.frame)
      }
      at = (at | (span - 1)) + 1
    }
    return nil
  }

  /// Within a section: a slot's entry, and how large the range of that one entry is.
  private func entryOrHole(_ offset: UInt64) -> (entry: Entry, span: UInt64) {
    var entry = Entry(raw: root.load(.acquire))
    var depth = level
    while entry.kind == .table && depth > 1 {
      entry = Table(entry.frame, in: arena)[Radix.index(offset, depth)]
      depth -= 1
    }
    return (entry, Radix.span(depth + 1))
  }
}

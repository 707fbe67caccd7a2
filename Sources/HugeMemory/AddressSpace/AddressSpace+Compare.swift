import Frames
import Paging

/// A range of a space, compared with another space.
public struct Comparison: Sendable, Equatable {
  /// In bytes, from the start of the spaces.
  public var offset: UInt64
  /// In bytes.
  public var length: UInt64
  /// Whether both have the same memory there, or both have none.
  public var isSame: Bool

  /// The offset of the first byte after the range.
  public var end: UInt64 { offset + length }
}

extension AddressSpace {
  /// Compares the start of a range with another space of the same machine, which is not larger: with
  /// a fork of this space, or one that this space was forked from. Returns the longest range from `offset` on
  /// that is the same throughout, or that differs throughout. The range must not be empty.
  ///
  /// This compares which memory is mapped, not bytes. What was not written since the fork is the
  /// same, and so are holes and memory that was only read. What was written since differs, even if
  /// the bytes are equal. So does memory that was discarded, or that a huge frame has taken the place
  /// of. If another thread writes meanwhile, the answer is of some moment during the call.
  ///
  /// - Complexity: O(entries in the range). A table that both share counts as one.
  /// - Thread safety: takes no lock.
  public func firstComparison(
    with other: AddressSpace, at offset: UInt64, length: UInt64
  ) throws(MemoryError) -> Comparison {
    try check(offset, length)
    guard other.machine === machine, other.size <= size else {
      throw .invalidSize(
        other.size, reason: "it must be a space of this machine with at most \(size) bytes")
    }
    precondition(length > 0, "compare: an empty range has no part")
    let end = offset + length
    let (isSame, at) = Self.longest(offset, end) { compare(other, $0, end) }
    return Comparison(offset: offset, length: at - offset, isSame: isSame)
  }

  /// Compares the entries at `offset`. Also returns the end of the part for which this holds, as far
  /// as one look at two tables shows. The tables of both spaces cannot go during the section, since
  /// the spaces share the machine and so its grace periods.
  private func compare(
    _ other: AddressSpace, _ offset: UInt64, _ limit: UInt64
  ) -> (isSame: Bool, end: UInt64) {
    let section = grace.enter()
    let found = compareWithin(other, offset, limit)
    section.leave()
    return found
  }

  private func compareWithin(
    _ other: AddressSpace, _ offset: UInt64, _ limit: UInt64
  ) -> (isSame: Bool, end: UInt64) {
    var mine = Entry(raw: root.load(.acquire))
    var theirs = Entry(raw: other.root.load(.acquire))
    var depth = level + 1
    while mine.kind == .table || theirs.kind == .table {
      if mine.kind == theirs.kind && mine.frame == theirs.frame { break }
      depth -= 1
      var index = Radix.index(offset, depth)
      let upper = (mine, theirs)
      mine = lower(upper.0, index)
      // Above the root of a space with fewer levels, all but the first part is untouched.
      theirs = depth <= other.level ? lower(upper.1, index) : index == 0 ? upper.1 : .none
      guard depth == 1 else { continue }
      let isSame = Self.isSame(mine, theirs)
      let base = Radix.start(offset, 2)
      let last = Int(min(UInt64(Table.count), (limit - base + Radix.span(1) - 1) / Radix.span(1)))
      repeat {
        index += 1
      } while index < last
        && Self.isSame(lower(upper.0, index), lower(upper.1, index)) == isSame
      return (isSame, base + UInt64(index) * Radix.span(1))
    }
    return (Self.isSame(mine, theirs), Self.end(offset, depth))
  }

  /// What an entry maps at an index of the next level: its table's entry, or its own part.
  @inline(__always)
  private func lower(_ entry: Entry, _ index: Int) -> Entry {
    switch entry.kind {
    case .table: Table(entry.frame, in: arena)[index]
    // A huge frame that was split has its parts in order.
    case .huge: Entry(.small, entry.frame + FrameNumber(index), writable: false)
    default: entry
    }
  }

  @inline(__always)
  private static func isSame(_ one: Entry, _ two: Entry) -> Bool {
    let (first, second) = (kind(of: one), kind(of: two))
    guard first == .data && second == .data else { return first != .data && second != .data }
    return one.kind == two.kind && one.frame == two.frame
  }
}

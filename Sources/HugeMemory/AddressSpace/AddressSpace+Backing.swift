import Paging

/// What is mapped at a place.
package enum Backing: Sendable, Equatable {
  /// Nothing.
  case none
  /// The zero page.
  case zero
  /// A frame of 4 KiB.
  case small
  /// A frame of 2 MiB.
  case huge
}

extension AddressSpace {
  /// What is mapped at the start of a range, and the end of the part where the same is mapped. The
  /// range must not be empty.
  ///
  /// - Complexity: O(entries in the range). An untouched range counts once for each table.
  /// - Thread safety: takes no lock.
  package func firstBacking(
    at offset: UInt64, length: UInt64
  ) throws(MemoryError) -> (backing: Backing, end: UInt64) {
    try check(offset, length)
    precondition(length > 0, "walk: an empty range has no backing")
    let end = offset + length
    return Self.longest(offset, end) { look($0, upTo: end) { Self.backing(of: $0) } }
  }

  private static func backing(of entry: Entry) -> Backing {
    switch entry.kind {
    case .none, .table: .none
    case .zero: .zero
    case .small: .small
    case .huge: .huge
    }
  }
}

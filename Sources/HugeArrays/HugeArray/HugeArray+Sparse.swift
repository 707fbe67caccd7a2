public import HugeMemory

// Which elements have memory, and which differ from another array's, without a look at all of them.
extension HugeArray {
  /// The ranges of elements that have memory, in order. All others are zeros. A range is one or more
  /// whole pages, as far as the array goes, and may contain zeros too.
  ///
  /// - Complexity: O(page tables in use)
  public var nonZeroRanges: [Range<Int>] { storage.stored(count) }

  /// The ranges of elements where this array differs from an earlier or later copy of itself, in
  /// order. A range is one or more whole pages, as far as the longer array goes. It contains what
  /// either of them wrote since they were one, even if the values are equal again.
  ///
  /// For an array that is no copy of this one, these are the ranges where either has memory.
  ///
  /// - Complexity: O(changes): page tables that both share are skipped.
  public func changes(since other: HugeArray) -> [Range<Int>] {
    storage.differences(count, other.storage, other.count)
  }

  /// Sets the elements of a range to zeros, and gives the memory of its whole pages back. The array
  /// keeps its length. Traps if the range is out of bounds.
  ///
  /// Throws `outOfMemory` if there is no memory for a page or table at the edges of the range, which
  /// a copy of the array may share. Then nothing, or not all of it, is removed.
  /// - Complexity: O(pages in the range that have memory)
  public mutating func removeAll(in range: Range<Int>) throws(MemoryError) {
    check(range)
    try own(for: count)
    try storage.discard(range)
  }

  /// Changes the number of elements. New ones are zeros. Memory of those that are gone is given back.
  /// Traps if `count` is negative, or larger than 256 TiB can hold.
  ///
  /// Throws `outOfMemory` if there is no memory for a table, and changes nothing.
  /// - Complexity: O(1) to grow; O(pages given back) to shrink.
  public mutating func resize(to count: Int) throws(MemoryError) {
    precondition(count >= 0, "HugeArray: a negative count")
    try own(for: Swift.max(count, self.count))
    // What was removed at the end may have left something there.
    let first = Swift.min(count, self.count)
    try storage.discard(after: first)
    elementCount = count
  }

  /// The memory that only this array refers to, page tables included, in bytes: what its end would
  /// free. Memory that copies share counts for none of them.
  ///
  /// - Complexity: O(page tables in use)
  public var memoryOwned: UInt64 { storage.space.usage().own }
}

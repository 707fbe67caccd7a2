extension HugeArray: Equatable where Element: Equatable {
  /// Whether both have equal elements in the same order.
  ///
  /// - Complexity: O(changes) for copies of one array: memory that both share is not looked at.
  ///   Otherwise O(pages that either has in memory).
  public static func == (first: HugeArray, second: HugeArray) -> Bool {
    guard first.count == second.count else { return false }
    if first.storage === second.storage { return true }
    for range in first.changes(since: second) {
      var one = Iterator(first.storage, range)
      var two = Iterator(second.storage, range)
      while let element = one.next() {
        guard element == two.next() else { return false }
      }
    }
    return true
  }
}

extension HugeArray: Hashable where Element: Hashable {
  /// Feeds the number of elements, and the index and value of each element that is not equal to zero.
  ///
  /// - Complexity: O(pages in memory)
  public func hash(into hasher: inout Hasher) {
    hasher.combine(count)
    // Equal arrays feed the same, whichever of them has zeros in memory and whichever has none.
    let zero = Self.zero
    for range in nonZeroRanges {
      var index = range.lowerBound
      var elements = Iterator(storage, range)
      while let element = elements.next() {
        if element != zero {
          hasher.combine(index)
          hasher.combine(element)
        }
        index += 1
      }
    }
  }
}

extension HugeArray {
  /// The element whose bytes are all zeros, as those are that nobody wrote.
  static var zero: Element {
    unsafe withUnsafeTemporaryAllocation(of: Element.self, capacity: 1) { element in
      let bytes = UnsafeMutableRawBufferPointer(element)
      unsafe bytes.initializeMemory(as: UInt8.self, repeating: 0)
      return unsafe bytes.load(as: Element.self)
    }
  }
}

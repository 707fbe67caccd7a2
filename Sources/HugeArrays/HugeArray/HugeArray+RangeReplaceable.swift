public import HugeMemory

extension HugeArray: RangeReplaceableCollection {
  /// Makes an empty array on the shared machine.
  public init() { self.init(count: 0, machine: .shared) }

  /// Makes an array with the elements of a sequence, on the shared machine. Traps if there is no
  /// memory.
  ///
  /// - Complexity: O(n)
  @inlinable public init(_ elements: some Sequence<Element>) {
    self.init(elements, machine: .shared)
  }

  /// Makes an array of `count` elements with one value, on the shared machine. Traps if `count` is
  /// negative or too large, or if there is no memory.
  ///
  /// - Complexity: O(count), or O(1) if all bytes of the value are zeros.
  @inlinable public init(repeating element: Element, count: Int) {
    self.init(repeating: element, count: count, machine: .shared)
  }

  /// Adds an element at the end. Traps if there is no memory.
  ///
  /// - Complexity: O(1)
  @inlinable public mutating func append(_ element: Element) {
    let index = elementCount
    if isKnownUniquelyReferenced(&storage), storage.hasInPlace(index), storage.isOpen {
      unsafe storage.inPlace(index, stride: Self.layout.stride)
        .storeBytes(of: element, as: Element.self)
    } else {
      setSlowly(index, element)
    }
    elementCount = index + 1
  }

  /// Adds the elements of a sequence at the end. Traps if there is no memory.
  ///
  /// - Complexity: O(n), or O(pages in memory) for another `HugeArray`.
  @inlinable public mutating func append(contentsOf elements: some Sequence<Element>) {
    if let array = elements as? HugeArray { return append(array) }
    let copied: Void? = elements.withContiguousStorageIfAvailable { buffer in
      unsafe append(copying: Span(_unsafeElements: buffer))
    }
    if copied != nil { return }
    for element in elements { append(element) }
  }

  /// Adds what another array has in memory, and nothing for the rest.
  @usableFromInline mutating func append(_ array: HugeArray) {
    let index = count
    do {
      try resize(to: index + array.count)
      try storage.copy(0..<array.count, of: array.storage, to: index)
    } catch { out(error) }
  }

  @usableFromInline mutating func append(copying elements: Span<Element>) {
    let index = count
    do {
      try own(for: index + elements.count)
      elementCount = index + elements.count
      try update(from: elements, at: index)
    } catch { out(error) }
  }

  /// Removes the last element and returns it. Traps if there is none.
  ///
  /// - Complexity: O(1)
  @inlinable @discardableResult public mutating func removeLast() -> Element {
    precondition(elementCount > 0, "HugeArray: no last element to remove")
    let element = self[elementCount - 1]
    elementCount -= 1
    return element
  }

  /// Removes the last element and returns it; nil if there is none.
  ///
  /// - Complexity: O(1)
  @inlinable public mutating func popLast() -> Element? { isEmpty ? nil : removeLast() }

  /// Removes the last elements. Traps if there are not so many, if the number is negative, or if
  /// there is no memory for a page table that a copy shares.
  ///
  /// - Complexity: O(pages given back)
  public mutating func removeLast(_ removed: Int) {
    precondition(removed >= 0 && removed <= count, "HugeArray: not so many elements to remove")
    do { try resize(to: count - removed) } catch { out(error) }
  }

  /// Removes all elements.
  ///
  /// - Complexity: O(pages given back)
  public mutating func removeAll(keepingCapacity: Bool = false) {
    self = HugeArray(count: 0, machine: machine)
  }

  /// Replaces a range by other elements. Those behind it move if their number changes; what has no
  /// memory stays without. Traps if the range is out of bounds, or if there is no memory.
  ///
  /// - Complexity: O(new elements), and O(pages in use behind the range) if the number changes.
  public mutating func replaceSubrange(
    _ range: Range<Int>, with elements: some Collection<Element>
  ) {
    check(range)
    guard range.lowerBound < count else { return append(contentsOf: elements) }
    let added = elements.count
    let target = range.lowerBound + added
    do {
      if target != range.upperBound {
        let old = self
        let tail = old.count - range.upperBound
        try resize(to: target)
        try resize(to: target + tail)
        try storage.copy(range.upperBound..<old.count, of: old.storage, to: target)
      } else {
        try own(for: count)
      }
    } catch { out(error) }
    var index = range.lowerBound
    for element in elements {
      self[index] = element
      index += 1
    }
    precondition(index == target, "HugeArray: a collection with another count than it says")
  }
}

public import HugeMemory

extension HugeArray: RandomAccessCollection, MutableCollection {
  /// The position of the first element: 0.
  @inlinable public var startIndex: Int { 0 }
  /// The position after the last element.
  @inlinable public var endIndex: Int { elementCount }
  /// The number of elements.
  ///
  /// - Complexity: O(1)
  @inlinable public var count: Int { elementCount }

  @inlinable @inline(__always)
  func check(_ index: Int) {
    precondition(
      UInt(bitPattern: index) < UInt(bitPattern: elementCount), "HugeArray: index out of range")
  }

  @inlinable func check(_ range: Range<Int>) {
    precondition(
      range.lowerBound >= 0 && range.upperBound <= elementCount, "HugeArray: range out of bounds")
  }

  /// The element at an index. Traps if the index is out of range, and a write also if the machine is
  /// full; `store(_:at:)` throws then.
  ///
  /// - Complexity: O(1). A read walks two to four page tables, lock-free. An element of the page that
  ///   this array wrote last is used in place. The first write to a page that this array does not
  ///   own takes a lock of this array's memory, and a page.
  @inlinable public subscript(index: Int) -> Element {
    @inline(__always) get {
      check(index)
      let layout = Self.layout
      if storage.hasInPlace(index) {
        return unsafe storage.inPlace(index, stride: layout.stride).load(as: Element.self)
      }
      return unsafe withUnsafeTemporaryAllocation(of: Element.self, capacity: 1) { element in
        let target = unsafe UnsafeMutableRawPointer(element.baseAddress.unsafelyUnwrapped)
        unsafe storage.space.loadWithinPage(
          at: layout.offset(index), into: target, size: MemoryLayout<Element>.size)
        return unsafe target.load(as: Element.self)
      }
    }
    @inline(__always) set {
      check(index)
      if isKnownUniquelyReferenced(&storage) {
        let layout = Self.layout
        if storage.hasInPlace(index), storage.isOpen {
          unsafe storage.inPlace(index, stride: layout.stride)
            .storeBytes(of: newValue, as: Element.self)
          return
        }
        let isStored = unsafe withUnsafeBytes(of: newValue) { bytes in
          unsafe storage.storeElsewhere(index, layout.offset(index), bytes)
        }
        if isStored { return }
      }
      setSlowly(index, newValue)
    }
  }

  /// Writes an element outside of the window. Traps if there is no memory.
  @inlinable @inline(never)
  mutating func setSlowly(_ index: Int, _ element: Element) {
    do throws(MemoryError) { try storeSlowly(index, element) } catch { out(error) }
  }

  @inlinable
  mutating func storeSlowly(_ index: Int, _ element: Element) throws(MemoryError) {
    try unsafe withUnsafeBytes(of: element) { (bytes) throws(MemoryError) in
      unsafe try Storage.store(&storage, index, bytes)
    }
  }

  /// A part of the array. It keeps all of the array's memory as it is. Setting it replaces the part,
  /// also by one of another length. Traps if the range is out of bounds.
  ///
  /// - Complexity: O(1) to get, O(length) to set; as `replaceSubrange` if the length changes.
  public subscript(bounds: Range<Int>) -> Slice<HugeArray> {
    // Not inlined: where Swift 6.3 sees how the slice is made, it may pass it on without a reference of its
    // own, although the array changes meanwhile, as in `array.insert(contentsOf: array[1...2], at: 0)`.
    @inline(never) @_semantics("optimize.no.crossmodule") get {
      check(bounds)
      return Slice(base: self, bounds: bounds)
    }
    set {
      check(bounds)
      replaceSubrange(bounds, with: newValue)
    }
  }

  /// Sets the element at an index, as the subscript does. If there is no memory for it, this throws
  /// `outOfMemory` and has changed nothing. Traps if the index is out of range.
  ///
  /// - Complexity: O(1)
  @inlinable public mutating func store(_ element: Element, at index: Int) throws(MemoryError) {
    check(index)
    try storeSlowly(index, element)
  }

  /// Swaps two elements. Traps if an index is out of range.
  ///
  /// - Complexity: O(1)
  @inlinable public mutating func swapAt(_ first: Int, _ second: Int) {
    let element = self[first]
    self[first] = self[second]
    self[second] = element
  }
}

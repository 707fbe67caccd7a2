public import HugeMemory

extension HugeArray {
  /// Makes an array with the elements of a sequence.
  ///
  /// - Complexity: O(n)
  @inlinable public init(_ elements: some Sequence<Element>, machine: Machine) {
    self.init(machine: machine)
    append(contentsOf: elements)
  }

  /// Makes an array of `count` elements with one value. If all bytes of the value are zeros, this
  /// takes no memory. Traps if `count` is negative or too large, or if there is no memory.
  ///
  /// - Complexity: O(count), or O(1) for zeros.
  @inlinable public init(repeating element: Element, count: Int, machine: Machine) {
    self.init(count: count, machine: machine)
    guard !Self.isZero(element) else { return }
    withMutableContiguousPieces { _, piece in
      for index in piece.indices { piece[index] = element }
    }
  }

  /// Whether all bytes of an element are zeros.
  @inlinable static func isZero(_ element: Element) -> Bool {
    unsafe withUnsafeBytes(of: element) { unsafe $0.allSatisfy { $0 == 0 } }
  }

  /// Replaces the elements from `index` on by others. Whole pages are written without a look at what
  /// was there. If there is no memory, this throws `outOfMemory`, and has replaced some of them.
  /// Traps if the range is out of bounds.
  ///
  /// - Complexity: O(elements)
  public mutating func update(from elements: Span<Element>, at index: Int) throws(MemoryError) {
    precondition(
      index >= 0 && index <= count && elements.count <= count - index,
      "HugeArray: range out of bounds")
    try own(for: count)
    try unsafe elements.bytes.withUnsafeBytes { (bytes) throws(MemoryError) in
      unsafe try storage.write(bytes, count: elements.count, at: index)
    }
  }

  /// Copies the elements from `index` on to a span, as many as it has. Traps if the range is out of
  /// bounds.
  ///
  /// - Complexity: O(elements)
  @inlinable public func copyElements(from index: Int, into target: inout MutableSpan<Element>) {
    precondition(
      index >= 0 && index <= count && target.count <= count - index,
      "HugeArray: range out of bounds")
    unsafe target.withUnsafeMutableBufferPointer { buffer in
      withContiguousPieces(in: index..<index + buffer.count) { start, piece in
        unsafe piece.withUnsafeBufferPointer { source in
          unsafe (buffer.baseAddress.unsafelyUnwrapped + (start - index))
            .update(from: source.baseAddress.unsafelyUnwrapped, count: source.count)
        }
      }
    }
  }

  /// Makes the memory of a range this array's own, and keeps it from being given back while it is
  /// zeros. So until the array is copied, writes there cannot fail. Throws `outOfMemory` if there is
  /// not enough, and keeps what it got. Traps if the range is out of bounds.
  ///
  /// - Complexity: O(pages)
  public mutating func reserveMemory(in range: Range<Int>) throws(MemoryError) {
    check(range)
    guard !range.isEmpty else { return }
    try own(for: count)
    try storage.reserve(range)
  }
}

extension HugeArray: ExpressibleByArrayLiteral {
  /// Makes an array with the elements of a literal.
  public init(arrayLiteral elements: Element...) {
    self.init(machine: .shared)
    append(contentsOf: elements)
  }
}

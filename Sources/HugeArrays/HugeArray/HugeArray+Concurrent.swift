public import HugeMemory
import Primitives

extension HugeArray {
  /// Calls `body` with a view of this array that many threads can read and write at once, each its
  /// own elements. The view is valid until `body` returns; end all threads that use it before that.
  ///
  ///     array.withConcurrentView { view in
  ///       DispatchQueue.concurrentPerform(iterations: 8) { part in
  ///         let size = view.count / 8
  ///         view.withMutableContiguousPieces(in: part * size..<(part + 1) * size) { _, piece in … }
  ///       }
  ///     }
  ///
  /// Traps if there is no memory to make the array's memory its own.
  /// - Complexity: O(1), beside what `body` does
  public mutating func withConcurrentView<Result, Failure: Error>(
    _ body: (ConcurrentView) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    do { try own(for: count) } catch { out(error) }
    storage.closeWindow()
    storage.willWrite(before: count)
    storage.isViewed.store(1, .relaxed)
    defer { storage.isViewed.store(0, .relaxed) }
    return try body(ConcurrentView(storage: storage, count: count))
  }

  /// An array that many threads write to.
  ///
  /// - Thread safety: any thread may call any method at any time, as long as no two of them touch one
  ///   element and one of them writes. Two threads that write one element leave bytes of either.
  ///   Writers of different elements of one page are fine.
  public struct ConcurrentView {
    let storage: Storage
    /// The number of elements.
    public let count: Int

    private func check(_ range: Range<Int>) {
      // After the end, the array may have copies that must not change.
      precondition(storage.isViewed.load(.relaxed) != 0, "HugeArray: a view that has ended")
      precondition(
        range.lowerBound >= 0 && range.upperBound <= count, "HugeArray: range out of bounds")
    }

    /// The element at an index. Traps if the index is out of range, and a write also if there is no
    /// memory.
    ///
    /// - Complexity: O(1)
    public subscript(index: Int) -> Element {
      get {
        check(index)
        return unsafe withUnsafeTemporaryAllocation(of: Element.self, capacity: 1) { element in
          let target = unsafe UnsafeMutableRawPointer(element.baseAddress.unsafelyUnwrapped)
          unsafe storage.space.loadWithinPage(
            at: layout.offset(index), into: target, size: MemoryLayout<Element>.size)
          return unsafe target.load(as: Element.self)
        }
      }
      nonmutating set {
        check(index)
        do {
          try unsafe withUnsafeBytes(of: newValue) { (bytes) throws(MemoryError) in
            unsafe try storage.writeShared(bytes, count: 1, at: index)
          }
        } catch { out(error) }
      }
    }

    private func check(_ index: Int) {
      precondition(index >= 0 && index < count, "HugeArray: index out of range")
      check(index..<index + 1)
    }

    private var layout: Layout { Layout(of: Element.self) }

    /// Replaces the elements from `index` on, as `HugeArray.update(from:at:)`.
    ///
    /// - Complexity: O(elements)
    public func update(from elements: Span<Element>, at index: Int) throws(MemoryError) {
      precondition(
        index >= 0 && index <= count && elements.count <= count - index,
        "HugeArray: range out of bounds")
      check(index..<index + elements.count)
      try unsafe elements.bytes.withUnsafeBytes { (bytes) throws(MemoryError) in
        unsafe try storage.writeShared(bytes, count: elements.count, at: index)
      }
    }

    /// Calls `body` with each contiguous piece of a range, for writes, as the method of `HugeArray`
    /// does. Traps if the range is out of bounds or if there is no memory.
    ///
    /// - Complexity: O(pages), beside what `body` does
    public func withMutableContiguousPieces<Failure: Error>(
      in range: Range<Int>,
      _ body: (_ start: Int, _ piece: inout MutableSpan<Element>) throws(Failure) -> Void
    ) throws(Failure) {
      check(range)
      try HugeArray.forEachWritablePiece(storage, range, body)
    }
  }
}

extension HugeArray.ConcurrentView: Sendable where Element: Sendable {}

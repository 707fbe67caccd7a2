extension HugeArray {
  /// Goes through the elements in order, a contiguous piece of memory at a time. It keeps the
  /// elements as they were when it was made.
  @safe public struct Iterator: IteratorProtocol {
    @usableFromInline var position: UnsafeRawPointer?
    @usableFromInline var end: UnsafeRawPointer?
    @usableFromInline var cursor: Cursor

    @inlinable init(_ storage: Storage, _ range: Range<Int>) {
      cursor = Cursor.over(range, of: storage)
    }

    /// The next element; nil at the end.
    ///
    /// - Complexity: O(1)
    @inlinable @inline(__always)
    public mutating func next() -> Element? {
      if unsafe position == end {
        // The piece goes through values, not through `self`, so that both stay in registers.
        let piece = unsafe Cursor.next(&cursor)
        guard unsafe piece.count > 0 else { return nil }
        unsafe position = piece.base
        unsafe end = piece.base + piece.count &* MemoryLayout<Element>.stride
      }
      let current = unsafe position.unsafelyUnwrapped
      unsafe position = current + MemoryLayout<Element>.stride
      return unsafe current.load(as: Element.self)
    }
  }

  /// Makes an iterator over the elements as they are now.
  ///
  /// - Complexity: O(1)
  @inlinable public func makeIterator() -> Iterator { Iterator(storage, 0..<elementCount) }
}

/// Holds the pieces of a range, one at a time.
@safe @usableFromInline final class Cursor {
  private let storage: Storage
  private var rest: Range<Int>
  private var held: UInt64?

  private init(_ storage: Storage, _ range: Range<Int>) {
    self.storage = storage
    rest = range
  }

  /// A function that is not inlined: Swift 6.3 puts a cursor that it sees being made on the stack without
  /// a header, and then frees it as if it had one.
  @usableFromInline @inline(never)
  static func over(_ range: Range<Int>, of storage: Storage) -> Cursor { Cursor(storage, range) }

  deinit { endHold() }

  private func endHold() {
    if let held { storage.space.endHold(held) }
    held = nil
  }

  /// The next piece, and how many elements it has; 0 at the end.
  @usableFromInline func next() -> (base: UnsafeRawPointer, count: Int) {
    endHold()
    guard !rest.isEmpty else { return unsafe (Storage.nowhere, 0) }
    let piece = storage.piece(rest)
    held = piece.slot
    rest = rest.lowerBound + piece.count..<rest.upperBound
    return unsafe (UnsafeRawPointer(piece.start), piece.count)
  }

  /// As `next`. A copy of an iterator may still be in the piece that the cursor holds; then this is a
  /// cursor of its own from now on.
  @usableFromInline @inline(never)
  static func next(_ cursor: inout Cursor) -> (base: UnsafeRawPointer, count: Int) {
    if !isKnownUniquelyReferenced(&cursor) {
      cursor = Cursor.over(cursor.rest, of: cursor.storage)
    }
    return unsafe cursor.next()
  }
}

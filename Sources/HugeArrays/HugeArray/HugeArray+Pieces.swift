public import HugeMemory

// Elements in place, as spans. Pages that follow each other in the array need not do so in memory, so
// a range is a number of pieces: of whole pages, and up to 2 MiB long where memory is dense.
extension HugeArray {
  /// Calls `body` with each contiguous piece of a range, in order, and the index of the piece's first
  /// element. Elements that nobody wrote are pieces of zeros, at most 2 MiB each.
  ///
  /// Loops over a piece are loops over plain memory, which the compiler can vectorise.
  ///
  ///     array.withContiguousPieces { start, piece in
  ///       for index in piece.indices { sum &+= piece[index] }
  ///     }
  ///
  /// Traps if the range is out of bounds.
  /// - Parameters:
  ///   - range: All elements if nil.
  ///   - body: Gets the index of the piece's first element, and the piece.
  /// - Complexity: O(pieces), beside what `body` does. Memory that you read in a piece stays where it
  ///   is until `body` returns.
  @inlinable public func withContiguousPieces<Failure: Error>(
    in range: Range<Int>? = nil,
    _ body: (_ start: Int, _ piece: Span<Element>) throws(Failure) -> Void
  ) throws(Failure) {
    let range = range ?? 0..<elementCount
    check(range)
    let cursor = Cursor.over(range, of: storage)
    var start = range.lowerBound
    while true {
      let (base, count) = unsafe cursor.next()
      guard count > 0 else { return }
      let piece = unsafe UnsafeBufferPointer(
        start: base.assumingMemoryBound(to: Element.self), count: count)
      try body(start, unsafe Span(_unsafeElements: piece))
      start += count
    }
  }

  /// As `withContiguousPieces`, for writes. Makes the memory of each piece this array's own before the
  /// call. Traps if there is none; after `reserveMemory(in:)`, there is.
  ///
  /// - Parameters:
  ///   - range: All elements if nil; then all of them get memory.
  ///   - body: Gets the index of the piece's first element, and the piece to change.
  /// - Complexity: O(pages), beside what `body` does.
  @inlinable public mutating func withMutableContiguousPieces<Failure: Error>(
    in range: Range<Int>? = nil,
    _ body: (_ start: Int, _ piece: inout MutableSpan<Element>) throws(Failure) -> Void
  ) throws(Failure) {
    let range = range ?? 0..<elementCount
    check(range)
    do { try own(for: elementCount) } catch { out(error) }
    storage.willWrite(before: range.upperBound)
    try Self.forEachWritablePiece(storage, range, body)
  }

  @inlinable static func forEachWritablePiece<Failure: Error>(
    _ storage: Storage, _ range: Range<Int>,
    _ body: (_ start: Int, _ piece: inout MutableSpan<Element>) throws(Failure) -> Void
  ) throws(Failure) {
    let cursor = WritingCursor.over(range, of: storage)
    var start = range.lowerBound
    while true {
      let next: (base: UnsafeMutableRawPointer, count: Int)
      do throws(MemoryError) { unsafe next = try cursor.next() } catch { out(error) }
      guard unsafe next.count > 0 else { return }
      let piece = unsafe UnsafeMutableBufferPointer(
        start: next.base.assumingMemoryBound(to: Element.self), count: next.count)
      var span = unsafe MutableSpan(_unsafeElements: piece)
      try body(start, &span)
      start += unsafe next.count
    }
  }

  /// The longest contiguous piece at the start of a range: at least one element, if the range has
  /// any, and at most 2 MiB. Go on with the rest of the range to see all of it.
  ///
  /// Traps if the range is out of bounds.
  /// - Complexity: O(pages in the piece). The memory of the piece stays where it is until the array
  ///   changes or is gone. If you go over much memory, `withContiguousPieces` holds less of it.
  @_lifetime(borrow self)
  public func span(of range: Range<Int>) -> Span<Element> {
    check(range)
    guard !range.isEmpty else { return Span() }
    let piece = storage.borrowedPiece(range)
    let elements = unsafe UnsafeBufferPointer(
      start: UnsafePointer(piece.start.assumingMemoryBound(to: Element.self)), count: piece.count)
    return unsafe _overrideLifetime(Span(_unsafeElements: elements), borrowing: self)
  }

  /// As `span(of:)`, for writes. The first page is made this array's own, and the piece goes as far as
  /// memory is this array's own already. Traps if there is no memory.
  ///
  /// - Complexity: O(pages in the piece)
  @_lifetime(&self)
  public mutating func mutableSpan(of range: Range<Int>) -> MutableSpan<Element> {
    check(range)
    guard !range.isEmpty else { return MutableSpan() }
    do {
      try own(for: elementCount)
      try storage.openWindow(range.lowerBound)
    } catch { out(error) }
    let elements = unsafe UnsafeMutableBufferPointer(
      start: storage.window.base?.assumingMemoryBound(to: Element.self),
      count: Swift.min(storage.window.count, range.count))
    return unsafe _overrideLifetime(MutableSpan(_unsafeElements: elements), mutating: &self)
  }
}

/// Holds the writable pieces of a range, one at a time.
@safe @usableFromInline final class WritingCursor {
  private let storage: Storage
  private var rest: Range<Int>
  private var piece: Storage.Piece?

  /// Not inlined, as that of `Cursor`.
  @usableFromInline @inline(never)
  static func over(_ range: Range<Int>, of storage: Storage) -> WritingCursor {
    WritingCursor(storage, range)
  }

  private init(_ storage: Storage, _ range: Range<Int>) {
    self.storage = storage
    rest = range
  }

  deinit { endHold() }

  private func endHold() {
    if let piece { storage.end(piece) }
    piece = nil
  }

  /// The next piece, and how many elements it has; 0 at the end.
  @usableFromInline func next() throws(MemoryError) -> (base: UnsafeMutableRawPointer, count: Int) {
    endHold()
    guard !rest.isEmpty else {
      return unsafe (UnsafeMutableRawPointer(mutating: Storage.nowhere), 0)
    }
    let next = try storage.writablePiece(rest)
    piece = next
    rest = rest.lowerBound + next.count..<rest.upperBound
    return unsafe (next.start, next.count)
  }
}

import HugeMemory

extension Storage {
  /// Elements that are contiguous in memory.
  @safe struct Piece {
    var start: UnsafeMutableRawPointer
    var count: Int
    /// What is held for it; nil if it is untouched memory.
    var slot: UInt64?
  }

  /// The longest piece at the start of a range, which is not empty, for reads. The caller ends the
  /// hold.
  func piece(_ range: Range<Int>) -> Piece {
    let offset = layout.offset(range.lowerBound)
    let piece = space.holdToRead(at: offset, length: .max)
    return unsafe Piece(
      start: piece.start,
      count: layout.count(piece.length, from: offset, limit: range.count), slot: piece.slot)
  }

  /// As `piece`, for writes. Only while one array refers to the storage.
  func writablePiece(_ range: Range<Int>) throws(MemoryError) -> Piece {
    let offset = layout.offset(range.lowerBound)
    let piece = try space.holdToWrite(at: offset, length: .max)
    return unsafe Piece(
      start: piece.start,
      count: layout.count(piece.length, from: offset, limit: range.count), slot: piece.slot)
  }

  func end(_ piece: Piece) { if let slot = piece.slot { space.endHold(slot) } }
}

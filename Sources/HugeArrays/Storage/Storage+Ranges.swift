import Glibc
import HugeMemory

// Ranges of elements. What changes a storage may be called only while one array refers to it.
extension Storage {
  /// Writes `count` elements, which lie one behind the other at `bytes`.
  func write(
    _ bytes: UnsafeRawBufferPointer, count: Int, at index: Int
  ) throws(MemoryError) {
    guard count > 0 else { return }
    // A write of a whole 2 MiB replaces what the window shows.
    closeWindow()
    willWrite(before: index + count)
    unsafe try writeShared(bytes, count: count, at: index)
  }

  /// As `write`, for a storage that several threads write to at once.
  func writeShared(
    _ bytes: UnsafeRawBufferPointer, count: Int, at index: Int
  ) throws(MemoryError) {
    guard let base = bytes.baseAddress else { return }
    var done = 0
    while done < count {
      let offset = layout.offset(index + done)
      let part = layout.count(.max, from: offset, limit: count - done)
      let from = unsafe base + done * layout.stride
      unsafe try space.write(
        at: offset, from: UnsafeRawBufferPointer(start: from, count: part * layout.stride))
      done += part
    }
  }

  /// Copies what has memory of a range of another storage to where there is nothing.
  func copy(
    _ range: Range<Int>, of other: Storage, to index: Int
  ) throws(MemoryError) {
    for part in other.stored(range.upperBound) {
      let cursor = Cursor.over(part.clamped(to: range), of: other)
      var start = part.clamped(to: range).lowerBound
      while case let piece = unsafe cursor.next(), unsafe piece.count > 0 {
        let bytes = unsafe UnsafeRawBufferPointer(
          start: piece.base, count: piece.count * layout.stride)
        unsafe try write(bytes, count: piece.count, at: index + start - range.lowerBound)
        start += unsafe piece.count
      }
    }
  }

  /// The bytes from the first element of a range, which is not empty, to its end.
  func bytes(_ range: Range<Int>) -> Range<UInt64> {
    layout.offset(range.lowerBound)..<layout.offset(range.upperBound - 1) + UInt64(layout.stride)
  }

  /// Makes a range zeros without memory.
  func discard(_ range: Range<Int>) throws(MemoryError) {
    guard !range.isEmpty else { return }
    closeWindow()
    let bytes = bytes(range)
    try space.discard(at: bytes.lowerBound, length: UInt64(bytes.count))
  }

  /// Makes all but the first `count` elements zeros without memory.
  func discard(after count: Int) throws(MemoryError) {
    guard unsafe count < writtenEnd else { return }
    try discard(unsafe count..<writtenEnd)
    unsafe writtenEnd = count
  }

  /// Makes a range writable, and keeps its memory.
  func reserve(_ range: Range<Int>) throws(MemoryError) {
    willWrite(before: range.upperBound)
    try space.reserveMemory(in: bytes(range))
  }

  /// A piece that stays in place until the storage changes or is gone.
  func borrowedPiece(_ range: Range<Int>) -> Piece {
    let piece = piece(range)
    guard let slot = piece.slot else { return piece }
    let isNew = borrowing.withLock {
      guard borrowed.insert(slot).inserted else { return false }
      hasBorrowed.store(1, .relaxed)
      return true
    }
    if !isNew { space.endHold(slot) }
    return piece
  }

  /// Ends what `borrowedPiece` holds.
  @inline(__always)
  func endBorrows() {
    // The array that got the span is the caller's, or gave the storage up.
    if hasBorrowed.load(.relaxed) != 0 { endAllBorrows() }
  }

  private func endAllBorrows() {
    hasBorrowed.store(0, .relaxed)
    let slots = borrowing.withLock {
      defer { borrowed = [] }
      return borrowed
    }
    for slot in slots { space.endHold(slot) }
  }

  /// The parts of the first `count` elements that have memory.
  func stored(_ count: Int) -> [Range<Int>] {
    var ranges: [Range<Int>] = []
    let end = layout.end(count)
    var offset: UInt64 = 0
    while offset < end {
      guard let extent = try? space.firstExtent(at: offset, length: end - offset) else { break }
      if extent.kind == .data { ranges.append(indices(extent.offset, extent.end, count)) }
      offset = extent.end
    }
    return ranges
  }

  /// The elements of whole pages, as far as they are among the first `count`.
  func indices(_ start: UInt64, _ end: UInt64, _ count: Int) -> Range<Int> {
    let first = min(layout.index(start), count)
    return first..<max(first, min(layout.index(end), count))
  }
}

import Frames
import Paging

// Memory that a caller uses in place, by address, for as long as it likes. Neither a grace-period
// section nor a pin can do that: a section must not last, and a pin keeps a frame but not its
// mapping, so a write through it could miss the space.
extension AddressSpace {
  /// A contiguous piece of memory in place.
  @safe package struct Piece {
    /// The address of its first byte.
    package var start: UnsafeMutableRawPointer
    /// In bytes.
    package var length: Int
    /// What to give to `endHold`; nil if the piece is untouched memory, which is not held.
    package var slot: UInt64?
  }

  /// The longest contiguous piece of memory that begins at `offset` and ends within its 2 MiB and
  /// within `length` bytes, for reads. The background leaves these 2 MiB as they are until
  /// `endHold`. The caller sees to it that nobody else changes them meanwhile: no write fault, no
  /// discard, no other use of this space but reads and forks.
  ///
  /// Untouched memory is a piece of zeros, and nothing is mapped there.
  ///
  /// - Complexity: O(pages in the piece). Takes the lock.
  package func holdToRead(at offset: UInt64, length: Int) -> Piece {
    let length = min(length, Self.rest(offset, 2))
    return lock.withLock {
      unsafe held(offset, length, toWrite: false)
        ?? Piece(
          start: UnsafeMutableRawPointer(mutating: ZeroSource.page),
          length: untouched(offset, length))
    }
  }

  /// As `holdToRead`, for reads and writes. Makes the first page writable, and the piece goes as far
  /// as memory is writable already. Several threads may hold pieces that do not overlap.
  package func holdToWrite(at offset: UInt64, length: Int) throws(MemoryError) -> Piece {
    let length = min(length, Self.rest(offset, 2))
    while true {
      let piece = lock.withLock { held(offset, length, toWrite: true) }
      if let piece { return piece }
      try makeWritable(offset)
    }
  }

  /// Lets the background have a slot again.
  package func endHold(_ slot: UInt64) {
    lock.withLock {
      guard let count = holds[slot] else { preconditionFailure("hold: it has ended already") }
      holds[slot] = count > 1 ? count - 1 : nil
    }
  }

  // MARK: Under the lock

  /// Whether somebody uses a slot's memory in place, so that its entries must stay.
  func isHeld(_ slot: UInt64) -> Bool { !holds.isEmpty && holds[Radix.start(slot, 2)] != nil }

  /// The piece of memory at `offset`, held from now on; nil if there is none that may be read, or
  /// with `toWrite`, written.
  private func held(_ offset: UInt64, _ length: Int, toWrite: Bool) -> Piece? {
    let found = slot(offset)
    var entry = found.entry
    guard !toWrite || found.exclusive && entry.isWritable else { return nil }
    var end = length
    var size = FrameGeometry.hugeSize
    if entry.kind == .table {
      let table = Table(entry.frame, in: arena)
      entry = table[Radix.index(offset, 1)]
      guard entry.kind == .small, !toWrite || entry.isWritable else { return nil }
      size = FrameGeometry.frameSize
      end = Self.rest(offset, 1)
      var frame = entry.frame + 1
      while end < length {
        let next = table[Radix.index(offset + UInt64(end), 1)]
        guard next.kind == .small, next.frame == frame, !toWrite || next.isWritable else { break }
        frame += 1
        end += size
      }
    } else if entry.kind != .huge {
      return nil
    }
    let slot = Radix.start(offset, 2)
    holds[slot, default: 0] += 1
    return unsafe Piece(
      start: arena.address(entry.frame) + Int(offset & UInt64(size - 1)), length: min(end, length),
      slot: slot)
  }

  /// How many bytes from `offset` on, at most `length`, have no memory.
  private func untouched(_ offset: UInt64, _ length: Int) -> Int {
    let entry = slot(offset).entry
    guard entry.kind == .table else { return length }
    let table = Table(entry.frame, in: arena)
    var end = Self.rest(offset, 1)
    while end < length, table[Radix.index(offset + UInt64(end), 1)].kind != .small {
      end += FrameGeometry.frameSize
    }
    return min(end, length)
  }
}

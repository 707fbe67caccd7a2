import Frames
import Glibc
import Paging

extension AddressSpace {
  /// Makes a range read as zeros. Whole pages become holes and their memory goes back to the
  /// arena before this returns; partial pages at the edges are cleared in place.
  ///
  /// - Complexity: O(tables and pages that the range touches).
  public func discard(at offset: UInt64, length: UInt64) throws(MemoryError) {
    try check(offset, length)
    guard length > 0 else { return }
    let page = UInt64(FrameGeometry.frameSize)
    let first = (offset + page - 1) & ~(page - 1)
    // Beyond the end nothing is ever written, so the last page and slot count as whole.
    let end = offset + length
    let last = end == size ? UInt64.max & ~(page - 1) : end & ~(page - 1)
    if first > last {
      return try clear(at: offset, length: length)
    }
    if first > offset { try clear(at: offset, length: min(first, end) - offset) }
    if last < end { try clear(at: last, length: end - last) }
    guard first < end, first < last else { return }
    try lock.withLock { (_) throws(MemoryError) in
      let span = Radix.span(level + 1)
      if first == 0 && last >= span {
        let old = Entry(raw: root.load(.relaxed))
        root.store(0, .release)
        retire(old, level: level)
      } else if Entry(raw: root.load(.relaxed)).kind == .table {
        let table = try exclusiveTable(first, level)
        try zap(table, level, base: 0, first, last)
      }
    }
    machine.settle()
  }

  /// Clears the entries of `[first, last)` below a table that this space owns.
  private func zap(
    _ table: Table, _ level: Int, base: UInt64, _ first: UInt64, _ last: UInt64
  ) throws(MemoryError) {
    let span = Radix.span(level)
    var index = first > base ? Int(min(511, (first - base) / span)) : 0
    while index < Table.count, table.liveEntries > 0 {
      let start = base + UInt64(index) * span
      guard start < last else { break }
      let entry = table[index]
      if entry.kind != .none {
        if first <= start && last - start >= span {
          replace(table, index, .none)
          retire(entry, level: level - 1)
        } else {
          let lower =
            level == 2
            ? try smallTable(table, index)
            : try exclusive(entry, level: level - 1) { table.set(index, $0) }
          try zap(lower, level - 1, base: start, first, last)
          if lower.liveEntries == 0 {
            replace(table, index, .none)
            machine.retire(.table(lower.frame, level: level - 1))
          }
        }
      }
      index += 1
    }
  }

  /// Writes zeros over the part of a range, within one page or two, that is mapped.
  private func clear(at offset: UInt64, length: UInt64) throws(MemoryError) {
    var done: UInt64 = 0
    while done < length {
      let at = offset + done
      let piece = min(length - done, UInt64(Self.rest(at, 1)))
      if kind(at).kind == .data {
        try unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: Int(piece)) {
          (zeros) throws(MemoryError) in
          unsafe zeros.initialize(repeating: 0)
          try unsafe write(at: at, from: UnsafeRawBufferPointer(zeros))
        }
      }
      done += piece
    }
  }

  /// Makes a range read as zeros. With `reserve` its memory is allocated, so that a later write
  /// cannot fail for want of space; without, this is `discard`.
  public func zero(at offset: UInt64, length: UInt64, reserve: Bool) throws(MemoryError) {
    guard reserve else { return try discard(at: offset, length: length) }
    try check(offset, length)
    let piece = FrameGeometry.hugeSize
    // SAFETY: the source of a write is only read, and this memory stays mapped.
    let zeros = unsafe UnsafeRawBufferPointer(start: ZeroSource.page, count: piece)
    var done: UInt64 = 0
    while done < length {
      let count = min(Int(clamping: length - done), Self.rest(offset + done, 2))
      try unsafe write(at: offset + done, from: UnsafeRawBufferPointer(rebasing: zeros[..<count]))
      done += UInt64(count)
    }
  }
}

/// 2 MiB of zeros to copy from, never written: the system backs it by its own zero page.
enum ZeroSource {
  nonisolated(unsafe) static let page: UnsafeRawPointer = {
    let page = unsafe mmap(
      nil, FrameGeometry.hugeSize, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    precondition(unsafe page != MAP_FAILED, "mmap of 2 MiB failed")
    return unsafe UnsafeRawPointer(page.unsafelyUnwrapped)
  }()
}

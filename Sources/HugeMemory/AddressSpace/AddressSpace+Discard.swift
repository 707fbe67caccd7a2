import Frames
import Glibc
import Paging

extension AddressSpace {
  /// Makes a range read as zeros. Whole pages become holes, and their memory goes back to the machine
  /// before this returns. Partial pages at the edges are cleared in place.
  ///
  /// Throws `outOfRange` if the range does not lie within the space, and `outOfMemory` or `overQuota`
  /// if there is no memory for a table or page that the space shares with a fork.
  ///
  /// - Complexity: O(tables and pages that the range touches), and one grace period.
  public func discard(_ range: Range<UInt64>) throws(MemoryError) {
    try discard(at: range.lowerBound, length: range.upperBound - range.lowerBound)
  }

  /// As `discard(_:)`, for a range that may overflow.
  package func discard(at offset: UInt64, length: UInt64) throws(MemoryError) {
    try check(offset, length)
    guard length > 0 else { return }
    let page = UInt64(FrameGeometry.frameSize)
    let first = (offset + page - 1) & ~(page - 1)
    // Nothing beyond the end is ever written, so the last page and slot count as whole.
    let end = offset + length
    let last = end == size ? UInt64.max & ~(page - 1) : end & ~(page - 1)
    if first > last {
      return try clear(at: offset, length: length)
    }
    if first > offset { try clear(at: offset, length: min(first, end) - offset) }
    if last < end { try clear(at: last, length: end - last) }
    guard first < end, first < last else { return }
    try lock.withLock { () throws(MemoryError) in
      guard machine.policy.followsLinux else {
        return try discardPages(first..<last, mayClear: true)
      }
      // Mapping by mapping: a table goes only if one mapping covers all of it.
      for part in parts(of: first..<last) { try discardPages(part.range, mayClear: true) }
    }
    machine.settle()
  }

  /// Under the lock: removes whole pages, or throws and has removed nothing. With `mayClear`,
  /// memory is cleared in place if there is no frame for a split.
  func discardPages(_ pages: Range<UInt64>, mayClear: Bool) throws(MemoryError) {
    let range = Zap(first: pages.lowerBound, last: pages.upperBound)
    let entry = Entry(raw: root.load(.relaxed))
    guard look(entry, level, base: 0, range).inside else { return }
    if range.covers(0, Radix.span(level + 1)) {
      storeRoot(.none)
      return retire(entry, level: level)
    }
    // Everything that can fail comes before anything is removed.
    givesBack = true
    defer { givesBack = false }
    let table = try exclusiveTable(range.first, level)
    try own(table, level, base: 0, range, mayClear: mayClear)
    zap(table, level, base: 0, range, keepsTables: machine.policy.followsLinux)
  }

  /// A range of whole pages. Says how a slot lies relative to it.
  private struct Zap {
    var first: UInt64
    var last: UInt64
    func covers(_ start: UInt64, _ span: UInt64) -> Bool {
      first <= start && last > start && last - start >= span
    }
    func misses(_ start: UInt64, _ span: UInt64) -> Bool {
      last <= start || first > start && first - start >= span
    }
  }

  /// Whether a table has anything inside a range, and anything outside. A table with nothing inside
  /// has nothing to remove, and one with nothing outside has nothing to keep: neither is copied or
  /// split.
  private func look(
    _ entry: Entry, _ level: Int, base: UInt64, _ range: Zap
  ) -> (inside: Bool, outside: Bool) {
    guard entry.kind == .table else { return (entry.kind != .none, entry.kind != .none) }
    let table = Table(entry.frame, in: arena)
    let span = Radix.span(level)
    var found = (inside: false, outside: false)
    for index in 0..<Table.count where !(found.inside && found.outside) {
      let entry = table[index]
      let start = base + UInt64(index) * span
      if entry.kind == .none { continue }
      if range.covers(start, span) {
        found.inside = true
      } else if range.misses(start, span) {
        found.outside = true
      } else {
        let lower = look(entry, level - 1, base: start, range)
        found = (found.inside || lower.inside, found.outside || lower.outside)
      }
    }
    return found
  }

  /// Makes the tables at the edges of a range this space's own, and splits slots into small entries
  /// where necessary.
  private func own(
    _ table: Table, _ level: Int, base: UInt64, _ range: Zap, mayClear: Bool
  ) throws(MemoryError) {
    let span = Radix.span(level)
    for index in 0..<Table.count {
      let entry = table[index]
      let start = base + UInt64(index) * span
      if entry.kind == .none || range.covers(start, span) || range.misses(start, span) { continue }
      let lower = look(entry, level - 1, base: start, range)
      guard lower.inside, lower.outside || machine.policy.followsLinux else { continue }
      if level > 2 {
        let lower = try exclusive(entry, level: level - 1) { table.set(index, $0) }
        try own(lower, level - 1, base: start, range, mayClear: mayClear)
      } else {
        do { _ = try smallTable(table, index) } catch {
          // There is no frame for a table. Zeros stay mapped. A huge frame that is this space's
          // alone can be cleared in place.
          let isCleared = entry.kind == .zero || entry.kind == .huge && entry.isWritable
          guard mayClear && isCleared else { throw error }
        }
      }
    }
  }

  /// Removes a range below a table that this space owns. Call `own` first.
  private func zap(
    _ table: Table, _ level: Int, base: UInt64, _ range: Zap, keepsTables: Bool
  ) {
    let span = Radix.span(level)
    for index in 0..<Table.count where table.liveEntries > 0 {
      let entry = table[index]
      let start = base + UInt64(index) * span
      if entry.kind == .none || range.misses(start, span) { continue }
      if range.covers(start, span) {
        replace(table, index, .none)
        retire(entry, level: level - 1)
        continue
      }
      switch entry.kind {
      case .none, .zero, .small: break
      case .huge:
        let from = max(range.first, start)
        let count = Int(min(range.last, start + span) - from)
        unsafe memset(arena.address(entry.frame) + Int(from - start), 0, count)
        // This may have been the last of its data.
        if machine.isZero(entry.frame, count: FrameGeometry.hugeSize), !entry.isKept {
          replace(table, index, .none)
          retire(entry, level: level - 1)
        }
      case .table:
        let lower = look(entry, level - 1, base: start, range)
        guard lower.inside else { continue }
        if lower.outside || keepsTables && entry.isWritable {
          zap(
            Table(entry.frame, in: arena), level - 1, base: start, range, keepsTables: keepsTables)
        } else {
          replace(table, index, .none)
          retire(entry, level: level - 1)
        }
      }
    }
  }

  /// Writes zeros over the data in a range that lies within one or two pages.
  private func clear(at offset: UInt64, length: UInt64) throws(MemoryError) {
    var done: UInt64 = 0
    while done < length {
      let at = offset + done
      let piece = min(length - done, UInt64(Self.rest(at, 1)))
      if kind(at, upTo: at + piece).kind == .data {
        try unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: Int(piece)) {
          (zeros) throws(MemoryError) in
          unsafe zeros.initialize(repeating: 0)
          try unsafe write(at: at, from: UnsafeRawBufferPointer(zeros))
        }
      }
      done += piece
    }
  }

  /// Writes zeros to a range. Unlike `discard`, this allocates the memory and keeps it, so that a
  /// later write to the range cannot fail for lack of memory, as long as no fork shares it. Reclaim
  /// leaves these zeros alone.
  ///
  /// Throws what `write` throws, and may have zeroed a part of the range by then.
  ///
  /// - Complexity: O(length).
  public func zero(_ range: Range<UInt64>) throws(MemoryError) {
    try zero(at: range.lowerBound, length: range.upperBound - range.lowerBound, reserve: true)
  }

  /// Makes a range read as zeros. With `reserve`, its memory is allocated, so that a later write
  /// cannot fail for lack of memory. Without, this is `discard`.
  package func zero(at offset: UInt64, length: UInt64, reserve: Bool) throws(MemoryError) {
    guard reserve else { return try discard(at: offset, length: length) }
    try check(offset, length)
    let piece = FrameGeometry.hugeSize
    // SAFETY: the source of a write is only read, and this memory stays mapped.
    let zeros = unsafe UnsafeRawBufferPointer(start: ZeroSource.page, count: piece)
    var done: UInt64 = 0
    while done < length {
      let count = min(Int(clamping: length - done), Self.rest(offset + done, 2))
      let at = offset + done
      try unsafe write(at: at, from: UnsafeRawBufferPointer(rebasing: zeros[..<count]))
      try lock.withLock { () throws(MemoryError) in try keep(at..<at + UInt64(count)) }
      done += UInt64(count)
    }
  }
}

/// 2 MiB of zeros to copy from. The memory is never written, so the system backs it with its own
/// zero page.
enum ZeroSource {
  nonisolated(unsafe) static let page: UnsafeRawPointer = {
    let page = unsafe mmap(
      nil, FrameGeometry.hugeSize, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    precondition(unsafe page != MAP_FAILED, "mmap of 2 MiB failed")
    return unsafe UnsafeRawPointer(page.unsafelyUnwrapped)
  }()
}

import Frames
import Paging

/// How a page is mapped.
package struct PageState: Sendable, Equatable {
  package var kind: Extent.Kind
  /// Whether one entry maps its whole 2 MiB.
  package var isHuge: Bool
}

extension AddressSpace {
  /// How the page at an offset is mapped now, as the ioctl `PAGEMAP_SCAN` reports it for a process.
  ///
  /// - Complexity: O(1), lock-free.
  package func pageState(at offset: UInt64) throws(MemoryError) -> PageState {
    try check(offset, 1)
    let section = grace.enter()
    let entry = slot(offset).entry
    let state =
      entry.kind == .table
      ? PageState(
        kind: Self.kind(of: Table(entry.frame, in: arena)[Radix.index(offset, 1)]), isHuge: false)
      : PageState(kind: Self.kind(of: entry), isHuge: entry.kind != .none)
    section.leave()
    return state
  }

  /// Faults in what an access to each page would (`MADV_POPULATE_READ`, `…_WRITE`). Stops at the
  /// first page that does not allow the access, or that there is no memory for.
  func populate(_ range: Range<UInt64>, _ access: Protection) throws(MemoryError) {
    var at = range.lowerBound
    let end = min(range.upperBound, size)
    while at < end {
      try lock.withLock { () throws(MemoryError) in try checkLocked(access, at, 1) }
      if access == .read {
        if try pageState(at: at).kind == .hole { try readFault(at) }
      } else {
        while !isWritable(at) { try makeWritable(at) }
      }
      at += UInt64(try pageState(at: at).isHuge ? Self.rest(at, 2) : Self.rest(at, 1))
    }
  }

  /// Makes the pages of a range writable without a fault, and keeps reclaim from taking them if they
  /// are zeros. The range is not empty and lies within the space, which has no mappings.
  ///
  /// - Complexity: O(pages)
  package func reserveMemory(in range: Range<UInt64>) throws(MemoryError) {
    let page = UInt64(FrameGeometry.frameSize)
    let end = (range.upperBound + page - 1) & ~(page - 1)
    var at = range.lowerBound & ~(page - 1)
    while at < end {
      let part = at..<min(end, at + UInt64(Self.rest(at, 2)))
      // Held meanwhile, so that a page of zeros is not taken before it is marked.
      let slot = Radix.start(at, 2)
      lock.withLock { holds[slot, default: 0] += 1 }
      defer { endHold(slot) }
      try populate(part, .write)
      try lock.withLock { () throws(MemoryError) in try keep(part) }
      at = part.upperBound
    }
  }

  func makeWritable(_ offset: UInt64) throws(MemoryError) {
    do {
      _ = unsafe try writeFault(offset, ZeroSource.page, 0)
    } catch {
      _ = unsafe try writeAgain(offset, ZeroSource.page, 0, after: error)
    }
  }

  /// Whether a write to a page would need no fault.
  private func isWritable(_ offset: UInt64) -> Bool {
    let section = grace.enter()
    let slot = slot(offset)
    var entry = slot.entry
    var isWritable = slot.exclusive && entry.isWritable
    if entry.kind == .table {
      entry = Table(entry.frame, in: arena)[Radix.index(offset, 1)]
      isWritable = isWritable && entry.isWritable
    }
    section.leave()
    return isWritable
  }
}

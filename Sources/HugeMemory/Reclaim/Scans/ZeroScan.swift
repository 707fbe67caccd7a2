import Frames
import Paging

// The all-zero scan: memory that reads as zeros becomes a hole again. What was written by a
// program that clears its disk, or left by a guest that clears its free memory.
extension AddressSpace {
  /// Makes holes of a slot's pages that are all zeros, as far as this space owns its tables.
  /// Readers go on meanwhile, writers wait. Returns how many frames it no longer maps.
  ///
  /// - Complexity: O(bytes that are zero), and a cache line for each page that is not.
  func dropZeros(_ slot: UInt64) -> Int {
    looksZero(slot) ? lock.withLock { dropZerosLocked(slot) } : 0
  }

  /// A look without the lock, at contents that may be changing: only to save the work.
  private func looksZero(_ slot: UInt64) -> Bool {
    let section = grace.enter()
    let looks = looksZero(self.slot(slot))
    section.leave()
    return looks
  }

  private func looksZero(_ seen: Slot) -> Bool {
    guard seen.exclusive, seen.entry.isWritable else { return false }
    switch seen.entry.kind {
    case .huge: return isDroppable(seen.entry, count: FrameGeometry.hugeSize)
    case .table:
      let table = Table(seen.entry.frame, in: arena)
      return (0..<Table.count).contains {
        isDroppable(table[$0], count: FrameGeometry.frameSize)
      }
    case .none, .zero, .small: return false
    }
  }

  private func isDroppable(_ entry: Entry, count: Int) -> Bool {
    guard entry.kind == .small || entry.kind == .huge, !entry.isKept, !entry.isHidden else {
      return false
    }
    return machine.isZero(entry.frame, count: count)
  }

  /// Under the lock, whatever the look said.
  func dropZerosLocked(_ slot: UInt64) -> Int {
    guard let upper = ownedTable(slot), upper[Radix.index(slot, 2)].isWritable else { return 0 }
    let index = Radix.index(slot, 2)
    let dropped = withoutWriters(upper, index) { entry in
      if entry.kind == .huge {
        guard isDroppable(entry, count: FrameGeometry.hugeSize) else { return 0 }
        replace(upper, index, .none)
        retire(entry, level: 1)
        return FrameGeometry.framesPerHuge
      }
      let table = Table(entry.frame, in: arena)
      var dropped = 0
      for page in 0..<Table.count {
        let small = table[page]
        guard isDroppable(small, count: FrameGeometry.frameSize) else { continue }
        replace(table, page, .none)
        retire(small, level: 0)
        dropped += 1
      }
      return dropped
    }
    if dropped > 0 {
      prune(slot)
      machine.events.zeroReclaim.count(dropped)
    }
    return dropped
  }
}

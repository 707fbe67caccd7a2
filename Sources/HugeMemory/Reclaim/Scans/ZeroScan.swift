import Frames
import Paging

// The all-zero scan: memory that reads as zeros becomes a hole again. Such memory comes from a
// program that clears its disk, or from a guest that clears its free memory.
extension AddressSpace {
  /// Makes holes of a slot's pages that are all zeros, as far as this space owns their tables.
  /// Meanwhile readers go on and writers wait. Returns how many frames the slot no longer maps.
  ///
  /// - Complexity: O(bytes that are zero), and a cache line for each page that is not.
  func dropZeros(_ slot: UInt64) -> Int {
    guard hasOwnFrame(slot, { entry, _ in isDroppable(entry) }) else { return 0 }
    return lock.withLock { dropZerosLocked(slot) }
  }

  private func isDroppable(_ entry: Entry) -> Bool {
    guard entry.kind == .small || entry.kind == .huge, !entry.isKept, !entry.isHidden else {
      return false
    }
    return machine.isZero(entry.frame, count: entry.frameLength)
  }

  /// Under the lock, whatever the look without it found.
  func dropZerosLocked(_ slot: UInt64) -> Int {
    let dropped = replaceOwnFrames(slot) { entry, _ in isDroppable(entry) ? Entry.none : nil }
    if dropped > 0 {
      prune(slot)
      machine.events.zeroReclaim.count(dropped)
    }
    return dropped
  }
}

extension Entry {
  /// Bytes of the frame that it maps.
  var frameLength: Int { kind == .huge ? FrameGeometry.hugeSize : FrameGeometry.frameSize }
}

import CLinux
import Primitives

// The memory of a file that can run out before the limit does: on a tmpfs with a limit of size, or on
// hugetlbfs. To touch a page for which such a file has no memory ends the process (SIGBUS). So the arena
// asks for the memory of a whole block of 2 MiB before it hands out any frame of it, and gives back only
// blocks that are wholly free. It has no clean blocks but those without memory.
extension Arena {
  /// Held by the one thread that asks for memory, so that others wait for it and do not ask for more.
  private static let obtaining = Lock()

  /// Gets the memory of one more block, or finds that another thread has. Returns false if the limit or
  /// the file does not allow it.
  ///
  /// - Complexity: one system call, which clears 2 MiB.
  func obtainBlock(for order: Int, own: Int, urgent: Bool = false) -> Bool {
    Self.obtaining.withLock {
      var block: FrameNumber?
      let isThere = lock.withLock {
        guard fits(1 << order, own: own, urgent: urgent) else { return false }
        // Another thread may have been here while this one waited.
        if firstFree(from: order, clean: false) != nil { return true }
        if residentLocked < limitLocked { block = takeWithoutMemory() }
        return false
      }
      guard let block else { return isThere }
      let isObtained = hasMemory(block)
      // What the file had for a part of it.
      if !isObtained { _ = giveBackMemory(block, frames: FrameGeometry.framesPerHuge) }
      lock.withLock { link(block, order: FrameGeometry.hugeOrder, clean: !isObtained) }
      return isObtained
    }
  }

  /// Whether the file has, or finds, memory for all of a block. What the block holds stays.
  func hasMemory(_ block: FrameNumber) -> Bool {
    unsafe hm_populate(address(block), FrameGeometry.hugeSize) == 0
  }

  /// Takes a block without memory, under the lock.
  private func takeWithoutMemory() -> FrameNumber? {
    let block = unsafe heads[head(FrameGeometry.hugeOrder, clean: true)]
    if block != 0 {
      unlink(block, order: FrameGeometry.hugeOrder)
      return block
    }
    guard Int(nextFresh) < reserved else { return nil }
    defer { nextFresh += FrameNumber(FrameGeometry.framesPerHuge) }
    return nextFresh
  }
}

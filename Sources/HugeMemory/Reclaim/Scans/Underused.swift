import Frames
import Paging

// The underused splitter: takes apart a huge frame that is mostly zeros. Its pages of zeros become
// zero entries again (`thp_underused`, history item 20).
extension Machine {
  /// Takes apart the huge frames with more than `maxPtesNone` pages of zeros, and returns how many.
  /// Their memory is free after `settle`. Does nothing if the policy has `shrinkUnderused` off, or
  /// `maxPtesNone` at 511. Frames that a fork shares stay whole.
  ///
  /// Reclaim does this by itself: in the background when memory is short, and before a write is
  /// refused.
  ///
  /// - Complexity: O(memory in huge frames), which is searched.
  @discardableResult
  package func splitUnderused() -> Int {
    let limit = Int(policy.maxPtesNone)
    // As in the kernel: at 511 every huge frame is used enough.
    guard policy.shrinkUnderused, limit < Table.count - 1 else { return 0 }
    var split = 0
    var scanner = SlotScanner()
    scanner.scan(self, entries: .max, { $0 == .huge }) { space, slot in
      if space.splitUnderused(slot, limit) > 0 { split += 1 }
      return true
    }
    return split
  }
}

extension AddressSpace {
  /// Takes apart one slot if it is huge, this space's alone, and has more than `limit` pages of
  /// zeros. Meanwhile readers go on and writers wait. Returns how many frames the slot no longer
  /// maps.
  func splitUnderused(_ slot: UInt64, _ limit: Int) -> Int {
    // A fork that is gone leaves the root shared until the next write, which may never come.
    if !Entry(raw: root.load(.relaxed)).isWritable { lock.withLock { regainRoot() } }
    // A look without the lock, at contents that may be changing, only to save work.
    let section = grace.enter()
    let seen = self.slot(slot)
    let isLikely =
      seen.exclusive && seen.entry.kind == .huge && isUnderused(seen.entry.frame, limit)
    section.leave()
    guard isLikely else { return 0 }
    let held = machine.getZeroPage() != nil
    defer { if held { machine.zeroPage.put() } }
    return lock.withLock { splitUnderusedLocked(slot, limit, zero: held ? .zero : .none) }
  }

  /// Under the lock, whatever the look without it found.
  func splitUnderusedLocked(_ slot: UInt64, _ limit: Int, zero: Entry) -> Int {
    guard let upper = ownedTable(slot), !isHeld(slot) else { return 0 }
    let index = Radix.index(slot, 2)
    let entry = upper[index]
    guard entry.kind == .huge, !entry.isKept, arena.hasOneReference(entry.frame) else { return 0 }
    givesBack = true
    defer { givesBack = false }
    return withoutWriters(upper, index) { entry in
      guard isUnderused(entry.frame, limit), let table = try? smallTable(upper, index) else {
        return 0
      }
      var dropped = 0
      for page in 0..<Table.count {
        let small = table[page]
        guard isZeroPage(small.frame) else { continue }
        replace(table, page, small.isHidden ? zero.hidden : zero)
        retire(small, level: 0)
        dropped += 1
      }
      machine.events.underusedSplit.count()
      return dropped
    }
  }

  /// Whether a huge frame has more than `limit` pages of zeros. Reads no more of it than necessary.
  private func isUnderused(_ frame: FrameNumber, _ limit: Int) -> Bool {
    var zeros = 0
    for page in 0..<Table.count {
      if isZeroPage(frame + FrameNumber(page)) { zeros += 1 }
      if zeros > limit { return true }
      if zeros + (Table.count - 1 - page) <= limit { return false }
    }
    return false
  }

  private func isZeroPage(_ frame: FrameNumber) -> Bool {
    machine.isZero(frame, count: FrameGeometry.frameSize)
  }
}

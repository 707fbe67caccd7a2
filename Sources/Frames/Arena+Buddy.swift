import CLinux
import Glibc
import Primitives

// The buddy allocator: free blocks of 2^order frames, aligned to their size, coalesced eagerly so
// that a wholly free 2 MiB block is seen at once and goes back to the system.
extension Arena {
  /// A block of `2^order` frames with one reference, or nil when the limit is reached or no
  /// block is that large. `zeroed` clears it, unless the system has just done so. `own`: of the
  /// frames promised, those that were to the caller, who has so many less of them afterwards.
  public func allocate(order: Int, zeroed: Bool, own: Int = 0) -> FrameNumber? {
    if failing.load(.relaxed) != 0 && isToFail() { return nil }
    return allocateBlock(order: order, zeroed: zeroed, own: own)
  }

  /// Whether this allocation is the one that a test wants to fail: bits 0 to 61 of `failing` count
  /// down to it, bit 62 says that it has, and bit 63 wants all from that one on.
  @inline(never)
  func isToFail() -> Bool {
    let word = failing.load(.relaxed)
    let count = word & (1 << 62 - 1)
    guard count > 0 else { return word >> 63 != 0 }
    failing.store(count > 1 ? word - 1 : word - 1 | 1 << 62, .relaxed)
    return count == 1
  }

  func allocateBlock(order: Int, zeroed: Bool, own: Int) -> FrameNumber? {
    precondition(order >= 0 && order <= FrameGeometry.hugeOrder, "frames: order out of range")
    var found = take(order, own).block
    if found == nil {
      // What the core caches hold may be all that is missing.
      drainCaches()
      while true {
        let (block, again) = take(order, own)
        found = block
        guard again else { break }
        sched_yield()
      }
    }
    if found == nil && makeRoomElsewhere(order, own) { found = take(order, own).block }
    guard let (frame, clean) = found else { return nil }
    if zeroed && !clean { clear(frame, order: order) }
    return frame
  }

  func clear(_ frame: FrameNumber, order: Int) {
    unsafe memset(address(frame), 0, FrameGeometry.frameSize << order)
  }

  /// `again`: there is none, but a block that is just being given back will do.
  private func take(
    _ order: Int, _ own: Int
  ) -> (block: (FrameNumber, clean: Bool)?, again: Bool) {
    lock.withLock {
      let block = takeLocked(order, own: own)
      let isThere = block == nil && fits(1 << order, own: own)
      return (block, isThere && returning.load(.relaxed) != 0)
    }
  }

  /// Takes a block under the lock; marks it allocated with one reference. `urgent`: from the reserve,
  /// too.
  func takeLocked(
    _ order: Int, own: Int = 0, urgent: Bool = false
  ) -> (FrameNumber, clean: Bool)? {
    let wanted = 1 << order
    guard fits(wanted, own: own, urgent: urgent) else { return nil }
    // Memory that the system has behind it comes before memory that it would have to find.
    let block: FrameNumber
    var clean = false
    var from = firstFree(from: order, clean: false)
    if from == nil {
      // Free memory in the wrong place counts: it has to go back first.
      guard residentLocked + wanted <= limitLocked else { return nil }
      clean = true
      from = firstFree(from: order, clean: true)
    }
    if let from {
      block = unsafe heads[head(from, clean: clean)]
      unlink(block, order: from)
    } else {
      guard Int(nextFresh) < reserved else { return nil }
      block = nextFresh
      nextFresh += FrameNumber(FrameGeometry.framesPerHuge)
    }
    var size = from ?? FrameGeometry.hugeOrder
    // The lower half is taken, the upper halves become free blocks.
    while size > order {
      size -= 1
      link(block + 1 << FrameNumber(size), order: size, clean: clean)
    }
    leastDirty = min(leastDirty, freeDirty)
    unsafe metadata[Int(block)].word.store(FrameState.allocated(order: order), .relaxed)
    outstanding.add(UInt64(wanted), .relaxed)
    keepPromise(wanted, own: own)
    return (block, clean)
  }

  /// The smallest order from this one on that has a free block.
  private func firstFree(from order: Int, clean: Bool) -> Int? {
    (order...FrameGeometry.hugeOrder).first { unsafe heads[head($0, clean: clean)] != 0 }
  }

  /// Where the list of an order begins.
  private func head(_ order: Int, clean: Bool) -> Int {
    clean ? FrameGeometry.hugeOrder + 1 + order : order
  }

  /// Gives a block back, with the order it was allocated with (history item 1).
  func giveBack(_ frame: FrameNumber, order: Int) {
    let whole = lock.withLock { giveBackLocked(frame, order: order) }
    if whole != 0 { returnToSystem(whole) }
  }

  /// Returns the block, still unlinked, if a whole huge block became free.
  func giveBackLocked(_ frame: FrameNumber, order: Int) -> FrameNumber {
    outstanding.subtract(UInt64(1) << UInt64(order), .relaxed)
    return coalesce(frame, order: order, clean: false)
  }

  /// Links a free block, joined with its free buddies. Returns the block, still unlinked, if a whole
  /// huge block became free: even where it is clean, the system has page tables behind it.
  func coalesce(_ frame: FrameNumber, order: Int, clean: Bool) -> FrameNumber {
    var block = frame
    var order = order
    var clean = clean
    unsafe metadata[Int(block)].word.store(0, .relaxed)
    while order < FrameGeometry.hugeOrder {
      let buddy = block ^ 1 << FrameNumber(order)
      let state = unsafe metadata[Int(buddy)].word.load(.relaxed)
      guard state & FrameState.free != 0, FrameState.order(state) == order else { break }
      clean = clean && state & FrameState.clean != 0
      unlink(buddy, order: order)
      block = min(block, buddy)
      order += 1
    }
    if order == FrameGeometry.hugeOrder {
      returning.add(1, .relaxed)
      return block
    }
    link(block, order: order, clean: clean)
    return 0
  }

  /// Called without the lock: nobody else knows of the block.
  func returnToSystem(_ block: FrameNumber) {
    let failed = unsafe hm_give_back(address(block), FrameGeometry.hugeSize)
    forgetFrames(of: block)
    lock.withLock {
      if failed == 0 { givenBack += UInt64(FrameGeometry.hugeSize) }
      link(block, order: FrameGeometry.hugeOrder, clean: failed == 0)
      returning.subtract(1, .relaxed)
    }
  }

  func link(_ block: FrameNumber, order: Int, clean: Bool) {
    let list = head(order, clean: clean)
    let next = unsafe heads[list]
    unsafe heads[list] = block
    if next != 0 { setPrevious(of: next, order, block) }
    if !clean { freeDirty += 1 << order }
    guard order < FrameGeometry.hugeOrder else {
      unsafe self.block(block).pointee = Block(
        next: next, previous: 0, isClean: clean, isSplit: false)
      return
    }
    unsafe metadata[Int(block)].low = next
    unsafe metadata[Int(block)].high = 0
    unsafe metadata[Int(block)].word.store(
      FrameState.free | (clean ? FrameState.clean : 0) | UInt64(order) << FrameState.orderShift,
      .relaxed)
  }

  /// Takes a block from its list.
  func unlink(_ block: FrameNumber, order: Int) {
    let next: FrameNumber
    let previous: FrameNumber
    let clean: Bool
    if order == FrameGeometry.hugeOrder {
      let whole = unsafe self.block(block).pointee
      (next, previous, clean) = (whole.next, whole.previous, whole.isClean)
    } else {
      clean = unsafe metadata[Int(block)].word.load(.relaxed) & FrameState.clean != 0
      (next, previous) = unsafe (metadata[Int(block)].low, metadata[Int(block)].high)
      unsafe metadata[Int(block)].word.store(0, .relaxed)
    }
    if previous == 0 {
      unsafe heads[head(order, clean: clean)] = next
    } else if order == FrameGeometry.hugeOrder {
      unsafe self.block(previous).pointee.next = next
    } else {
      unsafe metadata[Int(previous)].low = next
    }
    if next != 0 { setPrevious(of: next, order, previous) }
    if !clean { freeDirty -= 1 << order }
  }

  private func setPrevious(of next: FrameNumber, _ order: Int, _ block: FrameNumber) {
    if order == FrameGeometry.hugeOrder {
      unsafe self.block(next).pointee.previous = block
    } else {
      unsafe metadata[Int(next)].high = block
    }
  }

  /// The description of the block of 2 MiB that a frame lies in.
  func block(_ frame: FrameNumber) -> UnsafeMutablePointer<Block> {
    unsafe blocks + Int(frame) >> FrameGeometry.hugeOrder
  }
}

import CLinux
import Glibc
import Primitives

// The buddy allocator. Free blocks have 2^order frames and are aligned to their size. They are
// coalesced eagerly, so that a 2 MiB block goes back to the system as soon as all of it is free.
extension Arena {
  /// Allocates a block of `2^order` frames with one reference. Returns nil if the limit is reached
  /// or no free block is large enough. `zeroed` clears the block, unless the system has just done
  /// so. `own` is the number of frames promised to the caller. The block uses these up first, and
  /// the promise is lowered by as many.
  public func allocate(order: Int, zeroed: Bool, own: Int = 0) -> FrameNumber? {
    if failing.load(.relaxed) != 0 && isToFail() { return nil }
    return allocateBlock(order: order, zeroed: zeroed, own: own)
  }

  /// Whether a test wants this allocation to fail. Bits 0 to 61 of `failing` count down to the one
  /// that fails, bit 62 is set once it has failed, and bit 63 makes all later ones fail too.
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
      // The frames in the core caches may be enough.
      drainCaches()
      while true {
        let (block, again) = take(order, own)
        found = block
        guard again else { break }
        sched_yield()
      }
    }
    if found == nil && makeRoomElsewhere(order, own) { found = take(order, own).block }
    while found == nil, canRunOut, obtainBlock(for: order, own: own) {
      found = take(order, own).block
    }
    guard let (frame, clean) = found else { return nil }
    if zeroed && !clean { clear(frame, order: order) }
    return frame
  }

  func clear(_ frame: FrameNumber, order: Int) {
    unsafe memset(address(frame), 0, FrameGeometry.frameSize << order)
  }

  /// `again` means: no block is free now, but one is being given back, so try again.
  private func take(
    _ order: Int, _ own: Int
  ) -> (block: (FrameNumber, clean: Bool)?, again: Bool) {
    lock.withLock {
      let block = takeLocked(order, own: own)
      let isThere = block == nil && fits(1 << order, own: own)
      return (block, isThere && returning.load(.relaxed) != 0)
    }
  }

  /// Takes a block, under the lock, and marks it allocated with one reference. `urgent` allows the
  /// use of the reserve.
  func takeLocked(
    _ order: Int, own: Int = 0, urgent: Bool = false
  ) -> (FrameNumber, clean: Bool)? {
    let wanted = 1 << order
    guard fits(wanted, own: own, urgent: urgent) else { return nil }
    // Prefer a block that has memory of the system behind it. For a clean one, the system would
    // have to find memory first.
    let block: FrameNumber
    var clean = false
    var from = firstFree(from: order, clean: false)
    if from == nil {
      // Free dirty frames still use memory of the system. Some may have to go back to it first.
      guard !canRunOut, residentLocked + wanted <= limitLocked else { return nil }
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
    // Take the lower half each time. The upper halves become free blocks.
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

  /// The smallest order, at least the given one, that has a free block.
  func firstFree(from order: Int, clean: Bool) -> Int? {
    (order...FrameGeometry.hugeOrder).first { unsafe heads[head($0, clean: clean)] != 0 }
  }

  /// The index in `heads` of an order's list.
  func head(_ order: Int, clean: Bool) -> Int {
    clean ? FrameGeometry.hugeOrder + 1 + order : order
  }

  /// Frees a block with the order it was allocated with (history item 1).
  func giveBack(_ frame: FrameNumber, order: Int) {
    let whole = lock.withLock { giveBackLocked(frame, order: order) }
    if whole != 0 { returnToSystem(whole) }
  }

  /// Frees a block, under the lock. If this makes a whole huge block free, returns it, still
  /// unlinked; otherwise returns 0.
  func giveBackLocked(_ frame: FrameNumber, order: Int) -> FrameNumber {
    outstanding.subtract(UInt64(1) << UInt64(order), .relaxed)
    return coalesce(frame, order: order, clean: false)
  }

  /// Merges a free block with its free buddies and links the result, under the lock. If the result
  /// is a whole huge block, returns it, still unlinked; otherwise returns 0. Even a clean huge
  /// block has to go back to the system, which keeps page tables for it.
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

  /// Gives the memory of a huge block back to the system and links the block. Runs without the
  /// lock: no list has the block, so nobody else can reach it.
  func returnToSystem(_ block: FrameNumber) {
    let failed = giveBackMemory(block, frames: FrameGeometry.framesPerHuge)
    forgetFrames(of: block)
    allowHugeBacking(of: block)
    lock.withLock {
      if failed == 0 { givenBack += UInt64(FrameGeometry.hugeSize) }
      link(block, order: FrameGeometry.hugeOrder, clean: failed == 0)
      returning.subtract(1, .relaxed)
    }
  }

  /// Allows the system to back a block, which is wholly free and in no list, with a huge page again.
  private func allowHugeBacking(of block: FrameNumber) {
    // Nobody else can reach the block, so this needs no lock.
    guard unsafe self.block(block).pointee.isKeptSmall else { return }
    _ = unsafe hm_allow_huge_backing(address(block), FrameGeometry.hugeSize, 1)
    lock.withLock { keptSmall -= 1 }
  }

  func link(_ block: FrameNumber, order: Int, clean: Bool) {
    let list = head(order, clean: clean)
    let next = unsafe heads[list]
    unsafe heads[list] = block
    if next != 0 { setPrevious(of: next, order, block) }
    if !clean { freeDirty += 1 << order }
    guard order < FrameGeometry.hugeOrder else {
      unsafe self.block(block).pointee = Block(
        next: next, previous: 0, isClean: clean, isSplit: false, isKeptSmall: false)
      return
    }
    unsafe metadata[Int(block)].low = next
    unsafe metadata[Int(block)].high = 0
    unsafe metadata[Int(block)].word.store(
      FrameState.free | (clean ? FrameState.clean : 0) | UInt64(order) << FrameState.orderShift,
      .relaxed)
  }

  /// Removes a block from its list.
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

  /// The description of the 2 MiB block that contains a frame.
  func block(_ frame: FrameNumber) -> UnsafeMutablePointer<Block> {
    unsafe blocks + Int(frame) >> FrameGeometry.hugeOrder
  }
}

import CLinux
import Glibc
import Primitives

// Gives free memory between frames in use back to the system. (A wholly free block of 2 MiB goes
// back at once, see `returnToSystem`.)
//
// If the memory is used again soon, the system has to find and clear it again. So each call gives
// back only what nobody needed since the last call: the least that was free at any time in between.
// (malloc libraries call this decay.)
extension Arena {
  /// Blocks in one system call. The number is small so that an allocation never waits long for
  /// them.
  private static var batch: Int { 64 }

  /// Free frames that still have memory of the system behind them.
  public var framesFreeDirty: Int { lock.withLock { freeDirty } }

  /// Empties the core caches that nobody used since the last call (the kernel's `decay_pcp_high`).
  /// Gives back the frames that were free all the time since the last call, except for a slack of
  /// 1/128 of the frames in use: a hole breaks up the system's huge page for the rest of its 2 MiB.
  /// With `all`, gives back everything that is free. Returns the number of frames given back.
  ///
  /// - Complexity: O(free blocks given back), with one system call for up to 64 of them.
  @discardableResult
  public func trim(all: Bool = false) -> Int {
    drainCaches(idle: true)
    splitBackingsAgain()
    let slack = all ? 0 : Int(outstanding.load(.relaxed)) / 128
    return trim(
      upTo: lock.withLock {
        let unneeded = all ? freeDirty : min(leastDirty, freeDirty)
        leastDirty = freeDirty
        return max(0, unneeded - slack)
      })
  }

  /// Gives back free frames to make room, within the limit, for a block that has no memory behind
  /// it yet. Returns whether the allocation should be tried again.
  func makeRoomElsewhere(_ order: Int, _ own: Int) -> Bool {
    var missing = missingElsewhere(order, own)
    guard missing > 0 else { return false }
    // If another thread is trimming, wait until it is done.
    Self.trimming.withLock {}
    missing = missingElsewhere(order, own)
    return missing <= 0 || trim(upTo: missing) > 0
  }

  /// The number of free frames that must go back before a block can be had; 0 if the limit does not
  /// allow the block at all.
  private func missingElsewhere(_ order: Int, _ own: Int) -> Int {
    lock.withLock {
      guard fits(1 << order, own: own) else { return 0 }
      return min(freeDirty + held, residentLocked + 1 << order - limitLocked)
    }
  }

  /// Held by the one thread that trims, so that others can wait for it.
  private static let trimming = Lock()
  /// Frames given back before the lock is released and waiting threads look again: 8 MiB.
  private static var portion: Int { 2048 }

  private func trim(upTo frames: Int) -> Int {
    guard !canRunOut else { return 0 }
    var trimmed = 0
    while trimmed < frames {
      let portion = Self.trimming.withLock {
        var done = 0
        let wanted = min(frames - trimmed, Self.portion)
        while done < wanted {
          let batch = trimBatch(upTo: wanted - done)
          guard batch > 0 else { break }
          done += batch
        }
        lock.withLock { held -= done }
        return done
      }
      guard portion > 0 else { break }
      trimmed += portion
    }
    return trimmed
  }

  /// Gives back one batch, large blocks first. Returns the number of frames in it, or 0 if the
  /// system call failed.
  private func trimBatch(upTo surplus: Int) -> Int {
    unsafe withUnsafeTemporaryAllocation(of: hm_range.self, capacity: Self.batch) { ranges in
      unsafe withUnsafeTemporaryAllocation(
        of: (frame: FrameNumber, order: Int).self, capacity: Self.batch
      ) { taken in
        var count = 0
        var frames = 0
        lock.withLock {
          var order = FrameGeometry.hugeOrder - 1
          while order >= 0 && count < Self.batch {
            let block = unsafe heads[order]
            // A block that is larger than the surplus goes back too if most of it is surplus.
            guard block != 0, frames + 1 << order / 2 < surplus else {
              order -= 1
              continue
            }
            unlink(block, order: order)
            unsafe taken[count] = (block, order)
            unsafe ranges[count] = hm_range(
              start: address(block), length: FrameGeometry.frameSize << order)
            count += 1
            frames += 1 << order
          }
          leastDirty = min(leastDirty, freeDirty)
          returning.add(UInt64(count), .relaxed)
        }
        guard count > 0 else { return 0 }
        let start = ranges.baseAddress
        let failed =
          isShared
          ? unsafe hm_punch_all(start, Int32(count)) : unsafe hm_give_back_all(start, Int32(count))
        if failed == 0 { lock.withLock { held += frames } }
        for index in 0..<count {
          let (block, order) = unsafe taken[index]
          // As long as this part of it is in no list, the block cannot become wholly free.
          let isFirst = failed == 0 && keepSmall(block)
          let whole = lock.withLock {
            returning.subtract(1, .relaxed)
            return coalesce(block, order: order, clean: failed == 0)
          }
          if whole != 0 {
            returnToSystem(whole)
          } else if isFirst {
            splitBacking(of: block)
            if splitBackings.count < Self.mostSplitAgain { splitBackings.append(block) }
          }
        }
        guard failed == 0 else { return 0 }
        lock.withLock { givenBack += UInt64(frames * FrameGeometry.frameSize) }
        return frames
      }
    }
  }

  /// Gives back the metadata of a wholly free block, which holds no information. It reads as zeros
  /// afterwards.
  func forgetFrames(of block: FrameNumber) {
    _ = unsafe hm_give_back(
      metadata + Int(block), FrameGeometry.framesPerHuge * MemoryLayout<FrameMetadata>.stride)
  }

  /// Forbids the system to back the block of a frame with a huge page, since khugepaged would fill
  /// the holes with new memory. Returns whether these are the block's first holes.
  private func keepSmall(_ frame: FrameNumber) -> Bool {
    let (isFirst, isAllowed) = lock.withLock {
      let description = unsafe block(frame)
      guard unsafe !description.pointee.isSplit else { return (false, false) }
      unsafe description.pointee.isSplit = true
      return (true, keptSmall < Self.mostKeptSmall)
    }
    guard isFirst && isAllowed else { return isFirst }
    let failed = unsafe hm_allow_huge_backing(address(head(of: frame)), FrameGeometry.hugeSize, 0)
    guard failed == 0 else { return true }
    lock.withLock {
      unsafe block(frame).pointee.isKeptSmall = true
      keptSmall += 1
    }
    return true
  }

  /// Each of these blocks can cost the process two memory mappings more, and Linux allows a process
  /// 65,530 (vm.max_map_count).
  private static var mostKeptSmall: Int { 8192 }

  /// Asks the system to split the huge page behind a block with holes. By itself the system splits
  /// it only when it is short of memory, and until then the holes free nothing. This costs some 0.4
  /// ms, once per block: afterwards the block is backed by small pages until it is wholly
  /// free.
  ///
  /// The system does not split a page that something holds at the moment, such as its own compaction,
  /// and does not tell. So `trim` asks once more at its next call.
  private func splitBacking(of frame: FrameNumber) {
    // A hole in a file splits its huge page at once.
    guard !isShared else { return }
    _ = unsafe hm_split_backing(address(head(of: frame)), FrameGeometry.hugeSize)
  }

  /// The first frame of a frame's block.
  private func head(of frame: FrameNumber) -> FrameNumber {
    frame & ~FrameNumber(FrameGeometry.framesPerHuge - 1)
  }

  private func splitBackingsAgain() {
    let blocks = Self.trimming.withLock {
      defer { splitBackings.removeAll(keepingCapacity: true) }
      return splitBackings
    }
    for block in blocks { splitBacking(of: block) }
  }

  /// Blocks remembered for that: 2 GiB of them.
  private static var mostSplitAgain: Int { 1024 }
}

import CLinux
import Glibc
import Primitives

// Giving back free memory that is no whole block of 2 MiB: what is between frames in use. The rest
// goes back at once (`returnToSystem`).
//
// Memory that is used again soon would have to be found and cleared by the system again, so a call
// gives back only what nobody needed since the last one: the least that was free at any time in
// between. (malloc libraries call this decay.)
extension Arena {
  /// Frames in a call to the system: few enough that an allocation which waits for them hardly does.
  private static var batch: Int { 64 }

  /// Free frames with memory of the system's behind them.
  public var framesFreeDirty: Int { lock.withLock { freeDirty } }

  /// Gives back what was free all the time since the last call, but for a slack of 1/128 of what is
  /// in use: a hole costs the rest of its 2 MiB the system's huge page. `all`: whatever is free.
  /// Returns the frames given back.
  ///
  /// - Complexity: O(free blocks given back), a system call for 64 of them.
  @discardableResult
  public func trim(all: Bool = false) -> Int {
    let slack = all ? 0 : Int(outstanding.load(.relaxed)) / 128
    return trim(
      upTo: lock.withLock {
        let unneeded = all ? freeDirty : min(leastDirty, freeDirty)
        leastDirty = freeDirty
        return max(0, unneeded - slack)
      })
  }

  /// Gives back free memory so that as much can be had where there is none behind it yet. Returns
  /// whether that is worth another try.
  func makeRoomElsewhere(_ order: Int, _ own: Int) -> Bool {
    var missing = missingElsewhere(order, own)
    guard missing > 0 else { return false }
    // Somebody may just be at it.
    Self.trimming.withLock {}
    missing = missingElsewhere(order, own)
    return missing <= 0 || trim(upTo: missing) > 0
  }

  /// Frames that are free, within the limit, and in the way of a block.
  private func missingElsewhere(_ order: Int, _ own: Int) -> Int {
    lock.withLock {
      guard fits(1 << order, own: own) else { return 0 }
      return min(freeDirty + held, residentLocked + 1 << order - limitLocked)
    }
  }

  /// One thread at a time, so that others can wait for it.
  private static let trimming = Lock()
  /// Frames after which those who wait have another look: 8 MiB.
  private static var portion: Int { 2048 }

  private func trim(upTo frames: Int) -> Int {
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

  /// Gives back one batch, large blocks first. Returns the frames in it; 0 also if the system would
  /// not take them.
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
            guard block != 0, frames + 1 << order <= surplus else {
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
        let failed = unsafe hm_give_back_all(ranges.baseAddress, Int32(count))
        if failed == 0 { lock.withLock { held += frames } }
        for index in 0..<count {
          let (block, order) = unsafe taken[index]
          let (whole, isFirst) = lock.withLock {
            returning.subtract(1, .relaxed)
            let description = unsafe self.block(block)
            let isFirst = unsafe failed == 0 && !description.pointee.isSplit
            if isFirst { unsafe description.pointee.isSplit = true }
            return (coalesce(block, order: order, clean: failed == 0), isFirst)
          }
          if whole != 0 {
            returnToSystem(whole)
          } else if isFirst {
            splitBacking(of: block)
          }
        }
        guard failed == 0 else { return 0 }
        lock.withLock { givenBack += UInt64(frames * FrameGeometry.frameSize) }
        return frames
      }
    }
  }

  /// Gives back the metadata of a wholly free block, which says nothing: it reads as zeros then.
  func forgetFrames(of block: FrameNumber) {
    _ = unsafe hm_give_back(
      metadata + Int(block), FrameGeometry.framesPerHuge * MemoryLayout<FrameMetadata>.stride)
  }

  /// A huge page of the system's with holes stays whole until the system splits it, which it does
  /// only when it is short of memory itself. Asking costs some 0.4 ms a block, once: what follows in it
  /// is in small pages.
  private func splitBacking(of frame: FrameNumber) {
    let head = frame & ~FrameNumber(FrameGeometry.framesPerHuge - 1)
    _ = unsafe hm_split_backing(address(head), FrameGeometry.hugeSize)
  }
}

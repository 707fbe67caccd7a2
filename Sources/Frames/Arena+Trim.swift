import CLinux
import Glibc

// Giving back free memory that is no whole block of 2 MiB: what is between frames in use. The rest
// goes back at once (`returnToSystem`).
//
// Memory that is used again soon would have to be found and cleared by the system again, so a call
// gives back only what nobody needed since the last one: the least that was free at any time in
// between. (malloc libraries call this decay.)
extension Arena {
  /// Frames in a call to the system: few enough that an allocation which waits for them hardly does.
  private static var batch: Int { 64 }

  /// What `trim` did to a block of 2 MiB.
  private enum Backing {
    /// Parts of it were given back, but a huge page of the system's holds on to them.
    static let holed: UInt8 = 1
    /// It was split, and what follows is in small pages.
    static let split: UInt8 = 2
  }

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
    var surplus = lock.withLock {
      let unneeded = all ? freeDirty : min(leastDirty, freeDirty)
      leastDirty = freeDirty
      return max(0, unneeded - slack)
    }
    var trimmed = 0
    while surplus > 0 {
      let frames = trimBatch(upTo: surplus)
      guard frames > 0 else { break }
      surplus -= frames
      trimmed += frames
    }
    if trimmed > 0 { splitBacking() }
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
        for index in 0..<count {
          let (block, order) = unsafe taken[index]
          let whole = lock.withLock {
            returning.subtract(1, .relaxed)
            if failed == 0 {
              unsafe blocks[Int(block) >> FrameGeometry.hugeOrder] |= Backing.holed
            }
            return coalesce(block, order: order, clean: failed == 0)
          }
          if whole != 0 { returnToSystem(whole) }
        }
        guard failed == 0 else { return 0 }
        lock.withLock { givenBack += UInt64(frames * FrameGeometry.frameSize) }
        return frames
      }
    }
  }

  /// A huge page of the system's with holes stays whole until the system splits it, which it does
  /// only when it is short of memory itself. Asking costs some 0.4 ms a block, once.
  private func splitBacking() {
    let end = lock.withLock { Int(nextFresh) >> FrameGeometry.hugeOrder }
    for block in 0..<end {
      let isHoled = lock.withLock {
        guard unsafe blocks[block] == Backing.holed else { return false }
        unsafe blocks[block] |= Backing.split
        return true
      }
      if isHoled {
        let frame = FrameNumber(block << FrameGeometry.hugeOrder)
        _ = unsafe hm_split_backing(address(frame), FrameGeometry.hugeSize)
      }
    }
  }
}

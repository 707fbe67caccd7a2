#if INTERLEAVE
  import Interleave
#else
  import Primitives
#endif

// Promises: frames that are free, and kept for some holder. Invariant, under the arena's lock:
//
//     outstanding + promised ≤ limit
//
// Who was promised nothing takes frames only as long as this holds afterwards. What a holder takes of
// its own (`own`) is promised no more, in the same step. Frames in the core caches are outstanding,
// whoever gets them.
//
// Two things break the invariant. A holder that unmaps frames is promised them again at once, while
// they come back after a grace period only: they are on their way, and nobody else can take them,
// since frames are not cached while there are promises (`freeSmall`). Until then every holder may be
// refused, so that none takes what is another's; it waits for the grace period. And the limit may be
// lowered: then each holder has what the others were not promised.
extension Arena {
  /// Frames kept for those they were promised to.
  public var framesPromised: Int { Int(promised.load(.relaxed)) }

  /// Keeps frames for a holder; false, with nothing changed, if there are not so many.
  public func promise(_ frames: Int) -> Bool {
    lock.withLock {
      guard fits(frames, own: 0) else { return false }
      promised.add(UInt64(frames), .relaxed)
      return true
    }
  }

  /// Raises a promise by frames that their holder is just giving back, or lowers it by what the
  /// holder has or wants no more.
  public func changePromise(by frames: Int) {
    guard frames != 0 else { return }
    lock.withLock {
      if frames > 0 {
        promised.add(UInt64(frames), .relaxed)
      } else {
        let before = promised.subtract(UInt64(-frames), .relaxed)
        precondition(before >= UInt64(-frames), "frames: more promises lifted than made")
      }
    }
  }

  /// Under the lock: frames were taken, as far as they go of those promised to the caller.
  func keepPromise(_ frames: Int, own: Int) {
    if own > 0 { promised.subtract(UInt64(min(own, frames)), .relaxed) }
  }

  /// Under the lock: whether so many frames more may be had by one to whom `own` of those promised
  /// were.
  func fits(_ frames: Int, own: Int, urgent: Bool = false) -> Bool {
    // What those who give back more have taken of the reserve is not to be what a holder lacks.
    let limit = urgent || own > 0 ? limitLocked : limitLocked - reserveLocked
    let promised = Int(promised.load(.relaxed)) - own
    return Int(outstanding.load(.relaxed)) + promised + frames <= limit
  }
}

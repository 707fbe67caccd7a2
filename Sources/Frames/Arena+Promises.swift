#if INTERLEAVE
  import Interleave
#else
  import Primitives
#endif

// Promises: free frames that are reserved for a holder. Invariant, under the arena's lock:
//
//     outstanding + promised ≤ limit
//
// A caller without a promise can take frames only if the invariant still holds afterwards. A holder
// takes frames of its own (`own`) and lowers its promise in the same step. Frames in the core
// caches count as outstanding, whoever gets them later.
//
// Two things break the invariant for a while:
// - A holder that unmaps frames is promised them again at once, but they come back only after a
//   grace period. Nobody else can take them on the way, since frames are not cached while there are
//   promises (`freeSmall`). Until they are back any holder may be refused, so that none takes the
//   frames of another; it then waits for the grace period.
// - The limit may be lowered. Each holder can then have what was not promised to the others.
extension Arena {
  /// Frames that are promised to holders.
  public var framesPromised: Int { Int(promised.load(.relaxed)) }

  /// Promises frames to a holder. If there are not enough, changes nothing and returns false. `urgent` allows
  /// the use of the reserve.
  public func promise(_ frames: Int, urgent: Bool = false) -> Bool {
    lock.withLock {
      guard fits(frames, own: 0, urgent: urgent) else { return false }
      promised.add(UInt64(frames), .relaxed)
      return true
    }
  }

  /// Raises a promise by the frames that its holder is giving back, or lowers it by those that the
  /// holder has taken or no longer wants.
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

  /// Lowers the promises after a caller with `own` promised frames took `frames`. Under the lock.
  func keepPromise(_ frames: Int, own: Int) {
    if own > 0 { promised.subtract(UInt64(min(own, frames)), .relaxed) }
  }

  /// Whether a caller with `own` promised frames may take `frames` more. Under the lock.
  func fits(_ frames: Int, own: Int, urgent: Bool = false) -> Bool {
    // A holder may use the reserve as well: what urgent callers took from it must not be missing
    // from a promise.
    let limit = urgent || own > 0 ? limitLocked : limitLocked - reserveLocked
    let promised = Int(promised.load(.relaxed)) - own
    return Int(outstanding.load(.relaxed)) + promised + frames <= limit
  }
}

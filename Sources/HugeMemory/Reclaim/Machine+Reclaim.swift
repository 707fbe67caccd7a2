import Frames
import Glibc
import Primitives

// Reclaim: a thread that needs memory asks the shrinkers for more and more until there is enough.
// The background does so from the low watermark up to the high one, and a write that found no
// memory does so directly.
extension Machine {
  /// The numbers of free frames below which background reclaim begins, and at which it stops.
  var watermarks: (low: Int, high: Int) {
    let limit = Self.frames(limit)
    return (limit / 64, limit / 32)
  }

  /// Frames that callers without a promise can allocate now; and frames that could be allocated if
  /// the system granted all of `limit`.
  var framesFree: Int { max(0, arena.framesFree) }
  var framesSpare: Int { max(0, Self.frames(limit) - arena.framesInUse) }

  /// Whether fewer frames are free than the low watermark.
  var isUnderPressure: Bool { framesSpare < watermarks.low }

  /// Asks all shrinkers, first for a little of each and last for all that each has, until `bytes`
  /// bytes are free or there is no more. Returns the number of bytes that became free. A write that
  /// finds no memory does this by itself, so you need it only for a machine without a background.
  ///
  /// - Complexity: O(memory in use) if nothing is found: all of it is searched.
  @discardableResult
  public func reclaim(untilFree bytes: UInt64 = .max) -> UInt64 {
    let before = arena.framesInUse
    let wanted = Self.frames(bytes)
    let round = reclaimRounds(isDirect: false) { self.framesSpare >= wanted }
    events.pgscanKswapd.count(round.scanned)
    events.pgstealKswapd.count(round.freed)
    return Self.bytes(before - arena.framesInUse)
  }

  /// Runs one round at a priority, for pressure outside of this process. Returns the number of
  /// frames freed.
  @discardableResult
  package func reclaim(priority: Int) -> Int {
    let round = shrinkers.shrink(priority: max(0, min(priority, ShrinkerRegistry.mildest)))
    settle()
    events.pgscanKswapd.count(round.scanned)
    events.pgstealKswapd.count(round.freed)
    return round.freed
  }

  private func reclaimRounds(
    isDirect: Bool, until isDone: () -> Bool
  ) -> ShrinkerRegistry.Round {
    var sum = ShrinkerRegistry.Round()
    // Skips the mild priorities at which all of a small machine is less than one share.
    for priority in stride(from: ShrinkerRegistry.mildest, through: 0, by: -1)
    where arena.capacity >> priority > 0 {
      guard !isDone() else { break }
      let round = shrinkers.shrink(.init(priority: priority, isDirect: isDirect), until: isDone)
      sum.scanned += round.scanned
      sum.freed += round.freed
      if round.freed > 0 { settle() }
    }
    return sum
  }

  /// Direct reclaim, for a thread that found no memory. The thread holds no lock and is in no
  /// section. One thread reclaims at a time; the others wait, and share what it found. Returns
  /// whether to try again.
  ///
  /// First it frees what nobody uses. Then it searches memory: it takes huge frames apart whatever
  /// `max_ptes_none` says, those that are mostly zeros first. The search takes no longer than
  /// `directReclaimTime`. After a search that found nothing there is no other for a second, unless
  /// there are new huge frames. So a full machine refuses a write within a bounded time, and many
  /// writes quickly. If the search ran out of time, all huge frames are still looked at.
  package func reclaimDirectly() -> Bool {
    // If a shrinker writes and finds no memory, nothing is reclaimed for it (`PF_MEMALLOC`),
    // whichever thread asked it. It would be impossible: the scan that it is in would have to end
    // first.
    guard !shrinkers.isScanning else { return false }
    return reclaiming.withLock {
      // Another thread reclaimed while this one waited, or memory was freed.
      if framesFree >= Self.cluster { return true }
      return reclaimDirectlyAlone()
    }
  }

  /// The number of frames that a core's cache takes at once (`SWAP_CLUSTER_MAX`).
  static var cluster: Int { FrameGeometry.cacheBatch }
  /// When to search again after a search that began at `start` and found nothing: after a second,
  /// or longer, so that less than a tenth of the time is spent on searches. In nanoseconds, as all
  /// times here.
  static func lookAgain(after start: UInt64) -> UInt64 {
    let now = monotonicTime()
    return now + max(1_000_000_000, 10 * (now - start))
  }

  private func reclaimDirectlyAlone() -> Bool {
    events.allocstall.count()
    budget?.follow(self)
    if framesFree >= Self.cluster { return true }
    freeUnused()
    if framesFree >= Self.cluster { return true }
    let start = monotonicTime()
    let seen = changes.load(.acquire)
    let huge = events.hugeFrames
    guard fruitless.isOver(start, seen, huge) else { return framesFree > 0 }
    let end = start + directReclaimTime
    let round = reclaimRounds(isDirect: true) {
      self.framesFree >= Self.cluster || monotonicTime() >= end
    }
    events.pgscanDirect.count(round.scanned)
    events.pgstealDirect.count(round.freed)
    let isThrough = monotonicTime() < end
    if framesFree < Self.cluster && !isThrough { splitSparse(huge, seen) }
    // The last resort: revoke the zero page, even though it is mapped.
    if framesFree < Self.cluster { revokeZeroPage() }
    if framesFree < Self.cluster && isThrough {
      fruitless = Fruitless(until: Self.lookAgain(after: start), changes: seen, hugeFrames: huge)
    }
    return framesFree > 0
  }

  /// Takes apart huge frames that are mostly zeros, until there is enough or all were looked at.
  private func splitSparse(_ hugeFrames: UInt64, _ changes: UInt64) {
    let start = monotonicTime()
    guard policy.shrinkUnderused, fruitlessSplit.isOver(start, changes, hugeFrames) else { return }
    let limit = min(Int(policy.maxPtesNone), Self.sparseLimit(isLast: false))
    var freed = 0
    // To the end of the spaces, and once more from the start.
    for _ in 0..<2 where freed < Self.cluster {
      sparseScanner.scan(self, entries: .max, { $0 == .huge }) { space, slot in
        freed += space.splitUnderused(slot, limit)
        return freed < Self.cluster
      }
    }
    events.pgstealDirect.count(freed)
    settle()
    if freed == 0 {
      fruitlessSplit = Fruitless(
        until: Self.lookAgain(after: start), changes: changes, hugeFrames: hugeFrames)
    }
  }
}

/// A search of memory that found nothing, and until when there is no other.
struct Fruitless {
  var until: UInt64 = 0
  /// `Machine.changes`, and the number of huge frames taken, when the search began.
  var changes: UInt64 = 0
  var hugeFrames: UInt64 = 0

  func isOver(_ now: UInt64, _ changes: UInt64, _ hugeFrames: UInt64) -> Bool {
    now >= until || changes != self.changes || hugeFrames != self.hugeFrames
  }
}

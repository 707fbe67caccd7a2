import Frames
import Glibc
import Primitives

// Reclaim: who wants memory back asks the shrinkers for more and more until there is enough. In
// the background from the low watermark up to the high one; directly, for a write that found none.
extension Machine {
  /// Free frames below which background reclaim begins, and where it stops.
  var watermarks: (low: Int, high: Int) {
    let limit = Self.frames(limit)
    return (limit / 64, limit / 32)
  }

  /// Frames that can be allocated now by those who were promised none, and those that could be in use
  /// if the system was asked.
  var framesFree: Int { max(0, arena.framesFree) }
  var framesSpare: Int { max(0, Self.frames(limit) - arena.framesInUse) }

  /// Whether fewer frames are free than the low watermark.
  var isUnderPressure: Bool { framesSpare < watermarks.low }

  /// Asks all shrinkers, from a little of each to all that each has, until `frames` frames are free or
  /// there is no more. Returns the bytes that became free.
  ///
  /// - Complexity: O(memory in use) if nothing is found: it is looked through.
  @discardableResult
  public func reclaim(untilFree frames: UInt64 = .max) -> UInt64 {
    let before = arena.framesInUse
    let wanted = Int(clamping: frames)
    let round = reclaimRounds { self.framesSpare >= wanted }
    events.pgscanKswapd.count(round.scanned)
    events.pgstealKswapd.count(round.freed)
    return Self.bytes(before - arena.framesInUse)
  }

  /// One round at a priority, for pressure outside this process. Returns the frames freed.
  @discardableResult
  public func reclaim(priority: Int) -> Int {
    let round = shrinkers.shrink(priority: max(0, min(priority, ShrinkerRegistry.mildest)))
    settle()
    events.pgscanKswapd.count(round.scanned)
    events.pgstealKswapd.count(round.freed)
    return round.freed
  }

  private func reclaimRounds(
    until isDone: () -> Bool
  ) -> ShrinkerRegistry.Round {
    var sum = ShrinkerRegistry.Round()
    // Not the mild ones at which all of a small machine is no share yet.
    for priority in stride(from: ShrinkerRegistry.mildest, through: 0, by: -1)
    where arena.capacity >> priority > 0 {
      guard !isDone() else { break }
      let round = shrinkers.shrink(priority: priority, until: isDone)
      sum.scanned += round.scanned
      sum.freed += round.freed
      if round.freed > 0 { settle() }
    }
    return sum
  }

  /// Direct reclaim, for a thread that found no memory: it holds no lock and is in no section. One
  /// thread at a time; the others wait, and have what it found. Returns whether to try again.
  ///
  /// What costs nobody anything comes first, the look through memory after it. That takes no
  /// longer than `directReclaimTime`, and is not done again within a second of having found nothing:
  /// so a full machine refuses a write within a bounded time, and many writes fast.
  func reclaimDirectly() -> Bool {
    // A shrinker that writes finds no memory: it is not reclaimed for (`PF_MEMALLOC`), whoever asked
    // it. Nor could it be: the scan that it is in would have to end first.
    guard !shrinkers.isScanning else { return false }
    return reclaiming.withLock {
      // Somebody did it while this thread waited, or memory was freed.
      if framesFree >= Self.cluster { return true }
      return reclaimDirectlyAlone()
    }
  }

  /// As many frames as a core's cache takes at once (`SWAP_CLUSTER_MAX`).
  private static var cluster: Int { 32 }
  /// Nanoseconds.
  private static var directReclaimTime: UInt64 { 100_000_000 }
  private static var directReclaimPause: UInt64 { 1_000_000_000 }

  private func reclaimDirectlyAlone() -> Bool {
    events.allocstall.count()
    budget?.follow(self)
    if framesFree >= Self.cluster { return true }
    freeUnused()
    if framesFree >= Self.cluster { return true }
    let start = monotonicTime()
    let seen = changes.load(.acquire)
    guard start >= fruitless.until || seen != fruitless.changes else { return framesFree > 0 }
    let end = start + Self.directReclaimTime
    let round = reclaimRounds { self.framesFree >= Self.cluster || monotonicTime() >= end }
    events.pgscanDirect.count(round.scanned)
    events.pgstealDirect.count(round.freed)
    // The last resort: the zero page, though it is mapped.
    if framesFree < Self.cluster { revokeZeroPage() }
    if framesFree < Self.cluster && monotonicTime() < end {
      fruitless = (monotonicTime() + Self.directReclaimPause, seen)
    }
    return framesFree > 0
  }
}

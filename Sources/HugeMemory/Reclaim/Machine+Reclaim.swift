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
    let round = reclaimRounds(isDirect: false) { self.framesSpare >= wanted }
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
    isDirect: Bool, until isDone: () -> Bool
  ) -> ShrinkerRegistry.Round {
    var sum = ShrinkerRegistry.Round()
    // Not the mild ones at which all of a small machine is no share yet.
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

  /// Direct reclaim, for a thread that found no memory: it holds no lock and is in no section. One
  /// thread at a time; the others wait, and have what it found. Returns whether to try again.
  ///
  /// What costs nobody anything comes first, the look through memory after it: there huge frames are
  /// taken apart whatever `max_ptes_none` says, those that are zeros for the most part first. The look
  /// takes no longer than `directReclaimTime`, and is not done again within a second of having found
  /// nothing, unless there are new huge frames: so a full machine refuses a write within a bounded
  /// time, and many writes fast. If it ran out of its time, all huge frames are looked at nevertheless.
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
  static var cluster: Int { 32 }
  /// When to look again that began at a time and found nothing: in a second, and for less than a tenth
  /// of the time. In nanoseconds, as all times here.
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
    // The last resort: the zero page, though it is mapped.
    if framesFree < Self.cluster { revokeZeroPage() }
    if framesFree < Self.cluster && isThrough {
      fruitless = Fruitless(until: Self.lookAgain(after: start), changes: seen, hugeFrames: huge)
    }
    return framesFree > 0
  }

  /// Takes apart what is zeros for the most part until there is enough, or all was looked at.
  private func splitSparse(_ hugeFrames: UInt64, _ changes: UInt64) {
    let start = monotonicTime()
    guard policy.shrinkUnderused, fruitlessSplit.isOver(start, changes, hugeFrames) else { return }
    let limit = min(Int(policy.maxPtesNone), Self.sparseLimit(isLast: false))
    var freed = 0
    // To the end, and once more from the start.
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

/// A look through memory that found nothing, and until when it is not done again.
struct Fruitless {
  var until: UInt64 = 0
  /// `Machine.changes` and the number of huge frames taken, as it saw them.
  var changes: UInt64 = 0
  var hugeFrames: UInt64 = 0

  func isOver(_ now: UInt64, _ changes: UInt64, _ hugeFrames: UInt64) -> Bool {
    now >= until || changes != self.changes || hugeFrames != self.hugeFrames
  }
}

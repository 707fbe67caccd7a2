import Frames

// Shrinkers of what a machine has besides its spaces. Each is owned by the machine's registry, so
// none holds the machine.

/// The zero page, if nobody holds it.
struct ZeroPageShrinker: Shrinker {
  let name = "thp-zero"
  unowned let machine: Machine
  func count() -> Int { machine.zeroPage.shrinkerCount() * FrameGeometry.framesPerHuge }
  func scan(_ target: Int) -> Int? { machine.freeZeroPage() ? FrameGeometry.framesPerHuge : nil }
}

/// Free frames that the cores keep, and what waits for a grace period: costs nobody anything.
struct FrameCacheShrinker: Shrinker {
  let name = "frame-caches"
  let seeks = 0
  let batch = 1
  unowned let machine: Machine
  func count() -> Int { machine.arena.framesCached + machine.retired.waiting }
  func scan(_ target: Int) -> Int? {
    let before = machine.arena.framesOut
    machine.settle()
    let freed = before - machine.arena.framesOut
    return freed > 0 ? freed : nil
  }
}

/// Shared huge frames of which parts are mapped no more.
struct DeferredSplitShrinker: Shrinker {
  let name = "thp-deferred_split"
  unowned let machine: Machine
  func count() -> Int { machine.arena.hasQueuedSplits ? FrameGeometry.framesPerHuge : 0 }
  func scan(_ target: Int) -> Int? {
    let parts = machine.splitDeferred()
    return parts > 0 ? parts : nil
  }
}

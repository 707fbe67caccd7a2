import Frames

// Shrinkers for what a machine has besides its spaces. The machine's registry owns them, so none of
// them holds a reference to the machine.

/// Frees the zero page if nobody holds it.
struct ZeroPageShrinker: Shrinker {
  let name = "thp-zero"
  unowned let machine: Machine
  func count() -> Int { machine.zeroPage.shrinkerCount() * FrameGeometry.framesPerHuge }
  func scan(_ target: Int) -> Int? { machine.freeZeroPage() ? FrameGeometry.framesPerHuge : nil }
}

/// Frees the frames in the cores' caches, and what waits for a grace period. Nobody uses either.
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

/// Splits shared huge frames that have parts which nobody maps any more.
struct DeferredSplitShrinker: Shrinker {
  let name = "thp-deferred_split"
  unowned let machine: Machine
  func count() -> Int { machine.arena.hasQueuedSplits ? FrameGeometry.framesPerHuge : 0 }
  func scan(_ target: Int) -> Int? {
    let parts = machine.splitDeferred()
    return parts > 0 ? parts : nil
  }
}

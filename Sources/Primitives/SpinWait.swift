import Glibc

/// The turns of a loop that waits for another thread: it spins, then yields the core.
///
/// A part of the seam: the model checker's build has one in which a turn ends the thread's run.
@frozen public struct SpinWait: ~Copyable {
  @usableFromInline var turns = 0
  @inlinable @inline(__always) public init() {}

  @inlinable @inline(__always)
  public mutating func turn() {
    turns += 1
    if turns > 64 { Self.yield() }
  }

  @usableFromInline static func yield() { _ = sched_yield() }
}

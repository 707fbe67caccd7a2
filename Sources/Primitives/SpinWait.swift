import Glibc

/// Paces a loop that waits for another thread: the first turns spin, later ones yield the core.
///
/// This type is a part of the seam: in the model checker's version, a turn ends the thread's run.
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

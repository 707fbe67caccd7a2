/// Tells a thread that sleeps most of the time to end. It wakes the thread at once.
public final class StopSignal: @unchecked Sendable {
  // Sendable: `lock` guards the rest (L).
  private let lock = WaitingLock()
  /// (L) lock.
  private var isStopped = false
  private var isEnded = false

  public init() {}

  /// Waits for the given time, or until the thread is told to end. Returns whether it was told to.
  public func wait(microseconds: UInt32) -> Bool {
    let end = monotonicTime() + UInt64(microseconds) * 1000
    return lock.withLock {
      while !isStopped, lock.wait(until: end) {}
      return isStopped
    }
  }

  /// Tells the thread to end.
  public func stop() {
    lock.withLock {
      isStopped = true
      lock.wakeAll()
    }
  }

  /// Called by the thread when it is about to end.
  public func end() { lock.withLock { isEnded = true } }

  /// Whether the thread has called `end`.
  public var hasEnded: Bool { lock.withLock { isEnded } }
}

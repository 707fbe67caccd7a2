import Glibc

/// Tells a thread that sleeps most of the time to end. It wakes the thread at once.
@safe public final class StopSignal: @unchecked Sendable {
  // Sendable: the pointers are constant (C), the C library synchronizes what they point to, and
  // `mutex` guards the rest (L).
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private let condition: UnsafeMutablePointer<pthread_cond_t>
  /// (L) mutex.
  private var isStopped = false
  private var isEnded = false

  public init() {
    unsafe mutex = .allocate(capacity: 1)
    unsafe condition = .allocate(capacity: 1)
    unsafe pthread_mutex_init(mutex, nil)
    var attributes = pthread_condattr_t()
    unsafe pthread_condattr_init(&attributes)
    // Deadlines are on the monotonic clock, which cannot be set.
    unsafe pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
    unsafe pthread_cond_init(condition, &attributes)
    unsafe pthread_condattr_destroy(&attributes)
  }

  deinit {
    unsafe pthread_cond_destroy(condition)
    unsafe pthread_mutex_destroy(mutex)
    unsafe condition.deallocate()
    unsafe mutex.deallocate()
  }

  /// Waits for the given time, or until the thread is told to end. Returns whether it was told to.
  public func wait(microseconds: UInt32) -> Bool {
    let at = monotonicTime() + UInt64(microseconds) * 1000
    var deadline = timespec(tv_sec: Int(at / 1_000_000_000), tv_nsec: Int(at % 1_000_000_000))
    unsafe pthread_mutex_lock(mutex)
    defer { unsafe pthread_mutex_unlock(mutex) }
    while !isStopped, unsafe pthread_cond_timedwait(condition, mutex, &deadline) != ETIMEDOUT {}
    return isStopped
  }

  /// Tells the thread to end.
  public func stop() { set { isStopped = true } }

  /// Called by the thread when it is about to end.
  public func end() { set { isEnded = true } }

  /// Whether the thread has called `end`.
  public var hasEnded: Bool {
    unsafe pthread_mutex_lock(mutex)
    defer { unsafe pthread_mutex_unlock(mutex) }
    return isEnded
  }

  private func set(_ change: () -> Void) {
    unsafe pthread_mutex_lock(mutex)
    change()
    unsafe pthread_cond_signal(condition)
    unsafe pthread_mutex_unlock(mutex)
  }
}

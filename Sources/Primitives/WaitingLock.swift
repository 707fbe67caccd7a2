import Glibc

/// A lock whose holders can wait until another thread has changed what it guards.
@safe package final class WaitingLock: @unchecked Sendable {
  // Sendable: the pointers are constant (C), and the C library synchronizes what they point to.
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private let condition: UnsafeMutablePointer<pthread_cond_t>

  package init() {
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

  /// Runs `body` with the lock held.
  package func withLock<Result, Failure: Error>(
    _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    unsafe pthread_mutex_lock(mutex)
    defer { unsafe pthread_mutex_unlock(mutex) }
    return try body()
  }

  /// With the lock held: gives it back until somebody calls `wakeAll`, and takes it again. Look again at
  /// what you wait for, since this may also return without a reason.
  package func wait() { unsafe pthread_cond_wait(condition, mutex) }

  /// As `wait`, but not for longer than this.
  package func wait(microseconds: UInt64) { _ = wait(until: monotonicTime() + microseconds * 1000) }

  /// As `wait`, but at most until this nanosecond of `monotonicTime`. Returns false when it has come.
  package func wait(until time: UInt64) -> Bool {
    var deadline = timespec(tv_sec: Int(time / 1_000_000_000), tv_nsec: Int(time % 1_000_000_000))
    return unsafe pthread_cond_timedwait(condition, mutex, &deadline) != ETIMEDOUT
  }

  /// Wakes all who wait.
  package func wakeAll() { unsafe pthread_cond_broadcast(condition) }
}

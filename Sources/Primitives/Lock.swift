import Synchronization

#if THREAD_SANITIZER
  // Swift's `Mutex` is not instrumented: the sanitizer takes what it guards for unguarded.
  public typealias Lock = SpinLock
#else
  /// A lock to sleep on, for sections that may wait for a grace period.
  public struct Lock: ~Copyable, Sendable {
    private let mutex = Mutex(())
    public init() {}

    /// Runs `body` alone. Unlike `Mutex.withLock` it may return what is not sendable.
    public borrowing func withLock<Result, Failure: Error>(
      _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
      mutex._unsafeLock()
      defer { mutex._unsafeUnlock() }
      return try body()
    }
  }
#endif

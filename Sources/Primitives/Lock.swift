import Synchronization

#if THREAD_SANITIZER
  // Swift's `Mutex` is not instrumented: the sanitizer would report races on everything it guards.
  public typealias Lock = SpinLock
#else
  /// A sleeping lock, for sections that may wait for a grace period.
  public struct Lock: ~Copyable, Sendable {
    private let mutex = Mutex(())
    public init() {}

    /// Takes the lock. For code that holds any number of locks at once; others use `withLock`.
    public borrowing func lock() { mutex._unsafeLock() }
    /// Gives it back, on the thread that took it.
    public borrowing func unlock() { mutex._unsafeUnlock() }

    /// Runs `body` with the lock held. Unlike `Mutex.withLock`, the result need not be sendable.
    public borrowing func withLock<Result, Failure: Error>(
      _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
      mutex._unsafeLock()
      defer { mutex._unsafeUnlock() }
      return try body()
    }
  }
#endif

#if INTERLEAVE
  public import Interleave
#endif

/// A lock for sections of a few dozen instructions. It spins, then yields the core. The lock is
/// one word stored inline.
///
/// The buddy allocator uses it: its critical sections never allocate, never wait and never take
/// another lock.
public struct SpinLock: ~Copyable, Sendable {
  /// (A) 0 free, 1 held.
  @usableFromInline let word = AtomicWord(0)
  public init() {}

  @inlinable @inline(__always)
  public borrowing func lock() {
    var wait = SpinWait()
    // `acquire` pairs with the `release` of unlock.
    while !word.compareExchange(0, 1, .acquire).exchanged {
      repeat {
        wait.turn()
      } while word.load(.relaxed) != 0
    }
  }

  @inlinable @inline(__always)
  public borrowing func unlock() { word.store(0, .release) }

  @inlinable @inline(__always)
  public borrowing func withLock<Result, Failure: Error>(
    _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    lock()
    defer { unlock() }
    return try body()
  }
}

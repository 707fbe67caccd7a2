internal import Interleave

/// A value under a lock whose use the checker sees. It has the methods of `Synchronization.Mutex`.
///
/// A thread that finds the lock taken is not run until it is free. If all threads wait, that is a
/// livelock. A thread that takes a mutex that it already holds fails, as it does on Linux.
/// `withLockIfAvailable` returns nil only if another thread holds the lock.
///
/// It counts as one of the 56 words.
///
/// - Thread safety: the methods may be called by every thread of the scenario.
@safe public struct Mutex<Value: ~Copyable>: ~Copyable {
  private let lock: StandInLock
  /// Allocated, so that the runtime does not track the access to it while fibres switch.
  private let value: UnsafeMutablePointer<Value>

  /// Makes a mutex that guards `initialValue`.
  public init(
    _ initialValue: consuming sending Value, file: StaticString = #fileID, line: UInt = #line
  ) {
    lock = StandInLock("a Mutex", Site(file: file, line: line))
    unsafe value = .allocate(capacity: 1)
    unsafe value.initialize(to: initialValue)
  }

  deinit {
    unsafe value.deinitialize(count: 1)
    unsafe value.deallocate()
  }
}

// SAFETY: the lock is held during every access to `value`.
extension Mutex: @unchecked Sendable where Value: ~Copyable {}

extension Mutex where Value: ~Copyable {
  /// Calls `body` with the lock held. Throws what `body` throws.
  public borrowing func withLock<Result: ~Copyable, E: Error>(
    _ body: (inout sending Value) throws(E) -> sending Result,
    file: StaticString = #fileID, line: UInt = #line
  ) throws(E) -> sending Result {
    let site = Site(file: file, line: line)
    lock.lock(site)
    defer { lock.unlock(site) }
    return try unsafe body(&value.pointee)
  }

  /// Calls `body` with the lock held, or returns nil if another thread holds it. Throws what `body`
  /// throws.
  public borrowing func withLockIfAvailable<Result: ~Copyable, E: Error>(
    _ body: (inout sending Value) throws(E) -> sending Result,
    file: StaticString = #fileID, line: UInt = #line
  ) throws(E) -> sending Result? {
    let site = Site(file: file, line: line)
    guard lock.tryLock(site) else { return nil }
    defer { lock.unlock(site) }
    return try unsafe body(&value.pointee)
  }
}

import Glibc

/// A thread with a small stack of its own, for work that blocks in system calls. Swift's
/// cooperative pool has one thread per core and must not be blocked.
public struct WorkerThread: Sendable {
  private let thread: pthread_t

  /// Starts a thread that runs `body`. Returns nil if the system cannot start another thread.
  /// `stackSize` is in bytes.
  public init?(stackSize: Int = 256 << 10, _ body: @escaping @Sendable () -> Void) {
    var attributes = pthread_attr_t()
    unsafe pthread_attr_init(&attributes)
    unsafe pthread_attr_setstacksize(&attributes, stackSize)
    defer { unsafe pthread_attr_destroy(&attributes) }
    let box = unsafe Unmanaged.passRetained(Body(run: body))
    var thread = pthread_t()
    let failed = unsafe pthread_create(
      &thread, &attributes,
      { argument in
        let body = unsafe Unmanaged<Body>.fromOpaque(argument.unsafelyUnwrapped)
        unsafe body.takeRetainedValue().run()
        return nil
      }, box.toOpaque())
    guard failed == 0 else {
      unsafe box.release()
      return nil
    }
    self.thread = thread
  }

  /// Waits until the thread ends. Call either `join` or `detach`, once.
  public func join() { pthread_join(thread, nil) }
  public func detach() { pthread_detach(thread) }

  private final class Body: Sendable {
    let run: @Sendable () -> Void
    init(run: @escaping @Sendable () -> Void) { self.run = run }
  }
}

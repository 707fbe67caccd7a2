import Glibc
import Primitives

/// Takes signals on a thread of their own, not in a handler, which may do next to nothing. The
/// thread works even while the main thread waits for a server that hangs.
enum Signals {
  /// Blocks the signals for every thread that the process starts from now on, and calls `body` with each
  /// that comes. Call this before the process has a second thread. If no thread can start, the signals
  /// keep their default action.
  static func take(_ wanted: [Int32], _ body: @escaping @Sendable (Int32) -> Void) {
    var signals = sigset_t()
    unsafe sigemptyset(&signals)
    for signal in wanted { unsafe sigaddset(&signals, signal) }
    unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
    let thread = WorkerThread { [signals] in
      var waited = signals
      while true {
        var received: Int32 = 0
        if unsafe sigwait(&waited, &received) == 0 { body(received) }
      }
    }
    guard let thread else {
      unsafe pthread_sigmask(SIG_UNBLOCK, &signals, nil)
      return
    }
    thread.detach()
  }
}

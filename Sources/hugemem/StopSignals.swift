import Glibc
import Primitives
import Synchronization

/// SIGINT and SIGTERM, as a server takes them: the first asks it to stop, a second ends the process at
/// once, whatever it waits for. SIGHUP and SIGPIPE are ignored: disks outlive the terminal that started
/// the server, and the reader of its log.
///
/// A thread waits for the signals instead of a handler, since it may do what a handler may not.
final class StopSignals: Sendable {
  private let state = Mutex(State.starting)
  private enum State {
    case starting
    /// What the first signal calls.
    case running(@Sendable (Int32) -> Void)
    case stopping
  }
  private let atExit: @Sendable () -> Void

  /// Call this before the process has a second thread, so that all threads block the signals.
  /// `atExit` runs before the process ends by a signal.
  init(atExit: @escaping @Sendable () -> Void) {
    self.atExit = atExit
    signal(SIGPIPE, SIG_IGN)
    signal(SIGHUP, SIG_IGN)
    var signals = sigset_t()
    unsafe sigemptyset(&signals)
    for signal in [SIGINT, SIGTERM] { unsafe sigaddset(&signals, signal) }
    unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
    // Without a thread the default action remains: the process ends at the first signal.
    guard let thread = WorkerThread({ [self, signals] in wait(for: signals) }) else {
      unsafe pthread_sigmask(SIG_UNBLOCK, &signals, nil)
      return
    }
    thread.detach()
  }

  /// From now on the first signal calls `stop`, on a thread of its own. Until then, and after it, a
  /// signal ends the process.
  func onFirst(_ stop: @escaping @Sendable (Int32) -> Void) { state.withLock { $0 = .running(stop) } }

  private func wait(for signals: sigset_t) {
    var signals = signals
    while true {
      var received: Int32 = 0
      guard unsafe sigwait(&signals, &received) == 0 else { continue }
      let stop: (@Sendable (Int32) -> Void)? = state.withLock { state in
        guard case .running(let stop) = state else { return nil }
        state = .stopping
        return stop
      }
      let number = received
      if let stop, let thread = WorkerThread({ stop(number) }) {
        thread.detach()
      } else {
        atExit()
        _exit(128 + number)
      }
    }
  }
}

import Glibc
import Primitives
import Synchronization

/// Takes SIGINT and SIGTERM for a server. The first asks the server to stop. A second ends the
/// process at once, whatever it waits for. SIGHUP loads files again. SIGPIPE and SIGXFSZ are ignored.
/// So disks outlive the terminal that started the server, the reader of its log, and a limit of file
/// sizes. A crash ends the process at once: whoever writes a backtrace, as Swift's runtime does where its
/// tools are installed, would keep the next server waiting, or for ever if the memory's file is gone.
final class StopSignals: Sendable {
  private let state = Mutex(State.starting)
  private enum State {
    case starting
    /// What the first signal calls.
    case running(@Sendable (Int32) -> Void)
    case stopping
  }
  /// What SIGHUP calls.
  private let reloads = Mutex<[@Sendable () -> Void]>([])
  private let atExit: @Sendable () -> Void

  /// Call this before the process has a second thread, so that all threads block the signals.
  /// `atExit` runs before the process ends by a signal.
  init(atExit: @escaping @Sendable () -> Void) {
    self.atExit = atExit
    for ignored in [SIGPIPE, SIGXFSZ] { signal(ignored, SIG_IGN) }
    if unsafe getenv("SWIFT_BACKTRACE") == nil {
      for fault in [SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGQUIT, SIGSEGV, SIGTRAP] {
        signal(fault, SIG_DFL)
      }
    }
    Signals.take([SIGINT, SIGTERM, SIGHUP]) { [self] in take($0) }
  }

  /// From this call on, SIGHUP calls `reload` as well. Without any, SIGHUP does nothing.
  func onReload(_ reload: @escaping @Sendable () -> Void) { reloads.withLock { $0.append(reload) } }

  /// From this call on, the first signal calls `stop` on a thread of its own. Any signal before
  /// this call or after the first one ends the process.
  func onFirst(_ stop: @escaping @Sendable (Int32) -> Void) {
    state.withLock { $0 = .running(stop) }
  }

  private func take(_ signal: Int32) {
    guard signal != SIGHUP else {
      for reload in reloads.withLock({ $0 }) { reload() }
      return
    }
    let stop: (@Sendable (Int32) -> Void)? = state.withLock { state in
      guard case .running(let stop) = state else { return nil }
      state = .stopping
      return stop
    }
    if let stop, let thread = WorkerThread({ stop(signal) }) {
      thread.detach()
    } else {
      atExit()
      _exit(128 + signal)
    }
  }
}

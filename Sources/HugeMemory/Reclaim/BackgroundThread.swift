import Glibc
import MemoryPressure
import Primitives

/// The thread that looks after a machine. It ends with this object, which the machine holds. The
/// thread holds the machine only during a turn, so that it does not keep the machine alive.
final class BackgroundThread: Sendable {
  let signal: StopSignal

  /// Starts the thread; nil if the system has none.
  init?(_ machine: Machine, pressure: PressureMonitor?) {
    let signal = StopSignal()
    let thread = WorkerThread { [weak machine] in
      Self.leaveSignalsToOthers()
      var cycle = ReclaimCycle(pressure: pressure)
      while let pause = Self.turn(machine, &cycle), !signal.wait(microseconds: pause) {}
      signal.end()
    }
    guard let thread else { return nil }
    // Nobody joins the thread: the machine's last reference may be the one that the thread holds
    // during a turn.
    thread.detach()
    self.signal = signal
  }

  deinit { signal.stop() }

  /// A function of its own, so that the reference to the machine is released before the pause. Nil
  /// if the machine is gone.
  @inline(never)
  private static func turn(_ machine: Machine?, _ cycle: inout ReclaimCycle) -> UInt32? {
    machine.map { cycle.turn($0) }
  }

  /// Blocks signals, so that the program's own threads get them, by a handler or by `sigwait`.
  /// Signals that a fault of this thread raises still come to it.
  private static func leaveSignalsToOthers() {
    var signals = sigset_t()
    unsafe sigfillset(&signals)
    for fault in [SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS] {
      unsafe sigdelset(&signals, fault)
    }
    unsafe pthread_sigmask(SIG_SETMASK, &signals, nil)
  }
}

import Glibc
import MemoryPressure
import Primitives

/// The thread that looks after a machine. It ends with this object, which the machine holds; the
/// thread holds the machine only for the time of a turn, so that it is not what keeps it.
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
    // Nobody waits for it: the last reference may be the one that it holds in a turn.
    thread.detach()
    self.signal = signal
  }

  deinit { signal.stop() }

  /// A call of its own, so that the machine is let go before the pause. Nil: there is none any more.
  @inline(never)
  private static func turn(_ machine: Machine?, _ cycle: inout ReclaimCycle) -> UInt32? {
    machine.map { cycle.turn($0) }
  }

  /// A program's handlers and `sigwait` are for its own threads. What a fault of this thread raises
  /// still comes to it.
  private static func leaveSignalsToOthers() {
    var signals = sigset_t()
    unsafe sigfillset(&signals)
    for fault in [SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS] {
      unsafe sigdelset(&signals, fault)
    }
    unsafe pthread_sigmask(SIG_SETMASK, &signals, nil)
  }
}

import Glibc
import Primitives

/// The background half of reclaim: a thread that gives back what was unmapped, runs the shrinker
/// once nobody has held the zero page for a second, takes underused huge frames apart when memory
/// is short, and collapses dense memory when it is not (`kswapd` and `khugepaged` in one).
///
/// The kernel runs its shrinkers under memory pressure only; a server that is idle should not
/// keep 2 MiB for that, and one that reads holes now and then should not clear them again and
/// again.
public final class Reclaimer: Sendable {
  private static let interval: UInt32 = 100_000  // µs
  private static let patience = 10  // intervals

  private let thread: WorkerThread
  private let stopped: Flag
  private final class Flag: Sendable { let word = AtomicWord(0) }

  /// Starts the thread; nil if the system has none.
  public init?(_ machine: Machine) {
    let stopped = Flag()
    let thread = WorkerThread {
      var unheld = 0
      var slept = 0
      var scanner = CollapseScanner(machine: machine)
      while stopped.word.load(.relaxed) == 0 {
        usleep(Self.interval)
        machine.splitDeferred()
        machine.settle()
        unheld = machine.zeroPageReferences == 1 ? unheld + 1 : 0
        let isUnderPressure = machine.isUnderPressure
        if isUnderPressure { machine.splitUnderused() }
        if unheld >= Self.patience || unheld > 0 && isUnderPressure {
          machine.shrink()
          unheld = 0
        }
        slept += Int(Self.interval) / 1000
        if !isUnderPressure && slept >= Int(machine.policy.scanSleepMilliseconds) {
          _ = scanner.scan()
          slept = 0
        }
      }
    }
    guard let thread else { return nil }
    self.thread = thread
    self.stopped = stopped
  }

  /// Ends the thread and waits for it. Call once.
  public func stop() {
    stopped.word.store(1, .relaxed)
    thread.join()
  }
}

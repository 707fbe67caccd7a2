import Glibc
import MemoryPressure
import Primitives

/// The background half of reclaim (`kswapd` and `khugepaged` in one): a thread that gives back what
/// was unmapped, frees the zero page once nobody has held it for a second, reclaims from the low
/// watermark up to the high one and when others are short of memory, and collapses dense memory
/// when nobody is.
///
/// Memory that became free is back at the system within half a second.
public final class Reclaimer: Sendable {
  private let thread: WorkerThread
  private let stopped: Flag
  private final class Flag: Sendable { let word = AtomicWord(0) }

  /// Starts the thread; nil if the system has none.
  ///
  /// `budget`: from now on the machine's limit is what the system can spare. To be given before other
  /// threads use the machine. `pressure`: tells of pressure outside of this process.
  public init?(
    _ machine: Machine, budget: SystemBudget? = nil, pressure: PressureMonitor? = nil
  ) {
    if let budget {
      machine.budget = budget
      budget.follow(machine)
    }
    let stopped = Flag()
    let thread = WorkerThread {
      var cycle = ReclaimCycle(machine: machine, pressure: pressure)
      while stopped.word.load(.relaxed) == 0 { usleep(cycle.turn()) }
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

/// What the background does, turn by turn.
struct ReclaimCycle: ~Copyable {
  let machine: Machine
  let pressure: PressureMonitor?
  private var scanner: CollapseScanner
  /// Times, as of `monotonicTime`: when each is due again.
  private var trimAt: UInt64 = 0
  private var scanAt: UInt64 = 0
  private var reclaimAt: UInt64 = 0
  private var answerAt: UInt64 = 0
  /// Since when nobody has held the zero page; 0: somebody does.
  private var unheldSince: UInt64 = 0
  /// Grows as long as nothing is found.
  private var pause: UInt64 = 0
  private var isWithholding = false
  /// `Machine.changes` as the last turn saw it.
  private var changes: UInt64 = 0

  private static var second: UInt64 { 1_000_000_000 }

  init(machine: Machine, pressure: PressureMonitor?) {
    self.machine = machine
    self.pressure = pressure
    scanner = CollapseScanner(machine: machine)
  }

  /// Returns the microseconds until the next turn: fewer where memory is nearly short.
  mutating func turn() -> UInt32 {
    let now = monotonicTime()
    lookForChanges()
    machine.budget?.follow(machine)
    machine.splitDeferred()
    machine.settle()
    answerPressure(now)
    if machine.isUnderPressure { reclaim(now) }
    freeZeroPage(now)
    if now >= trimAt {
      machine.trim()
      trimAt = now + Self.second / 5
    }
    if !machine.isUnderPressure && now >= scanAt {
      _ = scanner.scan()
      scanAt = now + UInt64(machine.policy.scanSleepMilliseconds) * 1_000_000
    }
    return machine.framesSpare < 4 * machine.watermarks.high ? 10_000 : 100_000
  }

  /// A knob or the limit was set: whatever was put off because of the old one is due now, as Linux
  /// wakes khugepaged when one of its knobs is written.
  private mutating func lookForChanges() {
    let seen = machine.changes.load(.acquire)
    guard seen != changes else { return }
    changes = seen
    (scanAt, reclaimAt, pause) = (0, 0, 0)
  }

  /// From the low watermark up to the high one. Where there is nothing, less and less often.
  private mutating func reclaim(_ now: UInt64) {
    guard now >= reclaimAt else { return }
    let freed = machine.reclaim(untilFree: UInt64(machine.watermarks.high))
    pause = freed > 0 ? 0 : min(max(2 * pause, Self.second), 16 * Self.second)
    reclaimAt = monotonicTime() + pause
  }

  /// Others are short of memory: what costs nothing goes at once, of the rest the more the worse it
  /// is, once a second.
  private mutating func answerPressure(_ now: UInt64) {
    let level = pressure?.level ?? .normal
    let isCritical = level == .critical
    if isCritical != isWithholding {
      machine.withholdZeroPage(isCritical)
      isWithholding = isCritical
    }
    guard level >= .medium, now >= answerAt else { return }
    machine.reclaim(priority: isCritical ? 0 : 4)
    if isCritical { machine.revokeZeroPage() }
    machine.trim(all: true)
    answerAt = monotonicTime() + Self.second
  }

  /// The kernel runs its shrinkers under memory pressure only; a server that is idle should not keep
  /// 2 MiB for that, and one that reads holes now and then should not clear them again and again.
  private mutating func freeZeroPage(_ now: UInt64) {
    guard machine.zeroPageReferences == 1 else {
      unheldSince = 0
      return
    }
    if unheldSince == 0 { unheldSince = now }
    if now - unheldSince >= Self.second || machine.isUnderPressure {
      machine.freeZeroPage()
      unheldSince = 0
    }
  }
}

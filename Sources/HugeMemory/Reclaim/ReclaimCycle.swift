import MemoryPressure
import Primitives

/// What the background does, turn by turn. Between turns it does not hold the machine.
///
/// Not thread safe: one owner at a time, and one machine.
struct ReclaimCycle: ~Copyable {
  private let pressure: PressureMonitor?
  private var scanner = SlotScanner()
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

  init(pressure: PressureMonitor?) { self.pressure = pressure }

  /// Returns the microseconds until the next turn: fewer where memory is nearly short.
  mutating func turn(_ machine: Machine) -> UInt32 {
    let now = monotonicTime()
    lookForChanges(machine)
    machine.budget?.follow(machine)
    machine.splitDeferred()
    machine.settle()
    answerPressure(machine, now)
    if machine.isUnderPressure { reclaim(machine, now) }
    freeZeroPage(machine, now)
    if now >= trimAt {
      machine.trim()
      trimAt = now + Self.second / 5
    }
    if !machine.isUnderPressure && now >= scanAt {
      _ = machine.collapse(&scanner, entries: Int(machine.policy.pagesToScan))
      scanAt = now + UInt64(machine.policy.scanSleepMilliseconds) * 1_000_000
    }
    return machine.framesSpare < 4 * machine.watermarks.high ? 10_000 : 100_000
  }

  /// A knob or the limit was set: whatever was put off because of the old one is due now, as Linux
  /// wakes khugepaged when one of its knobs is written.
  private mutating func lookForChanges(_ machine: Machine) {
    let seen = machine.changes.load(.acquire)
    guard seen != changes else { return }
    changes = seen
    (scanAt, reclaimAt, pause) = (0, 0, 0)
  }

  /// From the low watermark up to the high one. Where there is nothing, less and less often.
  private mutating func reclaim(_ machine: Machine, _ now: UInt64) {
    guard now >= reclaimAt else { return }
    let freed = machine.reclaim(untilFree: UInt64(machine.watermarks.high))
    pause = freed > 0 ? 0 : min(max(2 * pause, Self.second), 16 * Self.second)
    reclaimAt = monotonicTime() + pause
  }

  /// Others are short of memory: what costs nothing goes at once, of the rest the more the worse it
  /// is, once a second.
  private mutating func answerPressure(_ machine: Machine, _ now: UInt64) {
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
  private mutating func freeZeroPage(_ machine: Machine, _ now: UInt64) {
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

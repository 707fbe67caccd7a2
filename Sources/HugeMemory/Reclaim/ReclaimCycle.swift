import MemoryPressure
import Primitives

/// The work of the background, turn by turn. Between turns it does not hold the machine.
///
/// Not thread safe: one owner at a time. For one machine only.
struct ReclaimCycle: ~Copyable {
  private let pressure: PressureMonitor?
  private var scanner = SlotScanner()
  /// When each is due again, in nanoseconds of `monotonicTime`.
  private var trimAt: UInt64 = 0
  private var scanAt: UInt64 = 0
  private var reclaimAt: UInt64 = 0
  private var answerAt: UInt64 = 0
  /// Since when nobody has held the zero page; 0 if somebody holds it.
  private var unheldSince: UInt64 = 0
  /// The pause after a reclaim. Grows as long as reclaim finds nothing.
  private var pause: UInt64 = 0
  private var isWithholding = false
  /// `Machine.changes` in the last turn.
  private var changes: UInt64 = 0

  private static var second: UInt64 { 1_000_000_000 }

  init(pressure: PressureMonitor?) { self.pressure = pressure }

  /// Returns the time until the next turn in microseconds: less if memory is nearly short.
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

  /// If a knob or the limit was set, what was put off because of the old value is due now. Linux
  /// also wakes khugepaged when one of its knobs is written.
  private mutating func lookForChanges(_ machine: Machine) {
    let seen = machine.changes.load(.acquire)
    guard seen != changes else { return }
    changes = seen
    (scanAt, reclaimAt, pause) = (0, 0, 0)
  }

  /// Reclaims from the low watermark up to the high one. If there is nothing to reclaim, it tries
  /// less and less often.
  private mutating func reclaim(_ machine: Machine, _ now: UInt64) {
    guard now >= reclaimAt else { return }
    let freed = machine.reclaim(untilFree: Machine.bytes(machine.watermarks.high))
    pause = freed > 0 ? 0 : min(max(2 * pause, Self.second), 16 * Self.second)
    reclaimAt = monotonicTime() + pause
  }

  /// Answers pressure: others are short of memory. What nobody uses goes at once. Once a second the
  /// shrinkers are asked for a part of the rest, which is larger the worse the pressure is.
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

  /// Frees the zero page once nobody has held it for a second, or under memory pressure. The kernel
  /// runs its shrinkers only under memory pressure. But an idle server should not keep 2 MiB until
  /// then, and a server that reads holes now and then should not clear a page each time.
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

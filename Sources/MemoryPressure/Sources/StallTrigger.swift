/// A trigger of PSI, the kernel's pressure stall information (Documentation/accounting/psi.rst). It
/// says how long tasks may stall for memory before that means a level.
///
/// Without CAP_SYS_RESOURCE, a process may use only windows that are multiples of 2 s. No kernel
/// accepts more than 10 s. If a window is refused, it is rounded up and the threshold with it.
public struct StallTrigger: Sendable, Hashable {
  /// How much of the machine or group has to wait for memory.
  public enum Share: String, Sendable, Hashable {
    /// At least one task waits.
    case some
    /// All tasks that are not idle wait, so no work is done.
    case full
  }

  /// Whether one task has to wait or all of them.
  public var share: Share
  /// The total time of stalls within one window that triggers.
  public var threshold: Duration
  /// The time over which the stalls are added up.
  public var window: Duration
  /// The level that the trigger means.
  public var level: PressureLevel

  /// A trigger for `share` of the tasks that stall for `threshold` within `window`. The kernel checks
  /// the values when a monitor starts.
  public init(
    _ share: Share, _ threshold: Duration, in window: Duration, means level: PressureLevel
  ) {
    self.share = share
    self.threshold = threshold
    self.window = window
    self.level = level
  }

  /// The text for the kernel's parser, in microseconds. They are clamped to 32 bits, since the
  /// kernel would drop higher bits without an error.
  var setting: String {
    let most = Int64(UInt32.max)
    return
      "\(share.rawValue) \(min(threshold.microseconds, most)) \(min(window.microseconds, most))"
  }

  var detail: String {
    "\(share.rawValue) \(threshold.milliseconds) ms in \(window.milliseconds) ms means \(level)"
  }

  /// The trigger scaled to the next larger window that every process may use. Nil if this is such a
  /// window already, or if the trigger makes no sense.
  var rounded: StallTrigger? {
    let step: Int64 = 2_000_000
    let micros = window.microseconds
    guard micros > 0, micros % step != 0 || micros > 5 * step else { return nil }
    let larger = micros >= 5 * step ? 5 * step : (micros / step + 1) * step
    // The threshold is within the window, and the ratio is at most 4 for windows of half a second,
    // the smallest that kernels accepted. So this cannot overflow for values that the kernel
    // accepts.
    let scaled = Double(threshold.microseconds) * Double(larger) / Double(micros)
    guard scaled < Double(larger) + 1 else { return nil }
    return StallTrigger(
      share, .microseconds(Int64(scaled)), in: .microseconds(larger), means: level)
  }
}

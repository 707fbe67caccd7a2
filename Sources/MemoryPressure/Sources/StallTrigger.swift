/// When the time that tasks stall for memory is too long: a trigger of PSI, the kernel's pressure
/// stall information (Documentation/accounting/psi.rst).
///
/// Processes without CAP_SYS_RESOURCE may only have windows of whole multiples of 2 s, and no kernel
/// takes more than 10 s. A window that is refused is rounded up, and the threshold with it.
public struct StallTrigger: Sendable, Hashable {
  public enum Share: String, Sendable, Hashable {
    /// At least one task waits.
    case some
    /// All that are not idle wait: nothing gets done.
    case full
  }

  public var share: Share
  /// Stalled for so long within a window…
  public var threshold: Duration
  public var window: Duration
  /// …means this level.
  public var level: PressureLevel

  public init(
    _ share: Share, _ threshold: Duration, in window: Duration, means level: PressureLevel
  ) {
    self.share = share
    self.threshold = threshold
    self.window = window
    self.level = level
  }

  /// What the kernel's parser takes: microseconds, of which it would keep 32 bits without a word.
  var setting: String {
    let most = Int64(UInt32.max)
    return
      "\(share.rawValue) \(min(threshold.microseconds, most)) \(min(window.microseconds, most))"
  }

  var detail: String {
    "\(share.rawValue) \(threshold.milliseconds) ms in \(window.milliseconds) ms means \(level)"
  }

  /// The same share of the next larger window that any process may have; nil if this is one, or if
  /// there is no sense in the trigger.
  var rounded: StallTrigger? {
    let step: Int64 = 2_000_000
    let micros = window.microseconds
    guard micros > 0, micros % step != 0 || micros > 5 * step else { return nil }
    let larger = micros >= 5 * step ? 5 * step : (micros / step + 1) * step
    // The threshold is within the window and the ratio at most 4 for windows of half a second, the
    // smallest that kernels took; it cannot overflow where the kernel would have taken it.
    let scaled = Double(threshold.microseconds) * Double(larger) / Double(micros)
    guard scaled < Double(larger) + 1 else { return nil }
    return StallTrigger(
      share, .microseconds(Int64(scaled)), in: .microseconds(larger), means: level)
  }
}

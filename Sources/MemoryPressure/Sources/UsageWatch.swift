/// Watches a group's use of memory against its limit. The limit is read each time, so a change
/// takes effect at once.
struct UsageWatch: Watch {
  let source: PressureSource
  let descriptor: Descriptor? = nil
  let events: Int16 = 0
  private let group: GroupFiles
  private let thresholds: UsageThresholds

  /// Returns nil if the group has no limit or no usage file.
  init?(_ group: GroupFiles, _ thresholds: UsageThresholds) throws(PressureError) {
    guard try group.fullness() != nil else { return nil }
    self.group = group
    self.thresholds = thresholds
    source = Self.source(group.directory, thresholds)
  }

  static func source(_ directory: String, _ thresholds: UsageThresholds) -> PressureSource {
    PressureSource(
      kind: .usage, path: directory,
      detail: "\(percent(thresholds.medium)) of the limit means medium, "
        + "\(percent(thresholds.critical)) critical, page cache not counted")
  }

  private static func percent(_ fraction: Double) -> String {
    let tenths = (fraction * 1000).rounded()
    return tenths.truncatingRemainder(dividingBy: 10) == 0
      ? "\(Int(exactly: tenths / 10) ?? 0) %" : "\(tenths / 10) %"
  }

  mutating func answer(_ ready: Int16) throws(PressureError) -> PressureLevel {
    thresholds.level(try group.fullness(enough: thresholds.medium) ?? 0)
  }
}

/// The fractions of its limit, not counting page cache, from which a group is short of memory.
public struct UsageThresholds: Sendable, Hashable {
  /// The fraction from which the level is medium.
  public var medium: Double
  /// The fraction from which the level is critical.
  public var critical: Double

  /// Fractions of the limit: 1 is all of it.
  public init(medium: Double, critical: Double) {
    self.medium = medium
    self.critical = critical
  }

  func level(_ fullness: Double) -> PressureLevel {
    if fullness >= critical { return .critical }
    return fullness >= medium ? .medium : .normal
  }
}

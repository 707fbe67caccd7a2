/// Combines the reports of several sources into one level. No source says when the pressure is
/// over, so each report holds for a while, and the highest that still holds is the level. This type
/// is pure: the caller passes the time.
struct HeldLevels: Sendable, Equatable {
  /// The time until which each level holds. The index is the level's raw value. `normal` always
  /// holds.
  private var ends = [Duration](repeating: .zero, count: PressureLevel.allCases.count)

  mutating func note(_ level: PressureLevel, until end: Duration) {
    ends[level.rawValue] = max(ends[level.rawValue], end)
  }

  func level(at now: Duration) -> PressureLevel {
    PressureLevel.allCases.last { $0 == .normal || ends[$0.rawValue] > now } ?? .normal
  }

  /// The time at which the level falls if nothing more is reported; nil if it is normal.
  func nextFall(after now: Duration) -> Duration? {
    let level = level(at: now)
    return level == .normal ? nil : ends[level.rawValue]
  }
}

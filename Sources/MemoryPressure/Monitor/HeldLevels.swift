/// The level that several sources make up, none of which says when it is over: what one told of
/// holds for a while, and the highest that holds is the level. Pure; times are a clock's.
struct HeldLevels: Sendable, Equatable {
  /// Until when each level holds; the index is the level's raw value. `normal` always does.
  private var ends = [Duration](repeating: .zero, count: PressureLevel.allCases.count)

  mutating func note(_ level: PressureLevel, until end: Duration) {
    ends[level.rawValue] = max(ends[level.rawValue], end)
  }

  func level(at now: Duration) -> PressureLevel {
    PressureLevel.allCases.last { $0 == .normal || ends[$0.rawValue] > now } ?? .normal
  }

  /// When the level falls if nothing more is told; nil if it is normal.
  func nextFall(after now: Duration) -> Duration? {
    let level = level(at: now)
    return level == .normal ? nil : ends[level.rawValue]
  }
}

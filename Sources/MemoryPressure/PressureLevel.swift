/// How short of memory the process is, and so what it should do.
///
/// The words are the kernel's (`memory.pressure_level` of cgroup v1), with `normal` for none.
public enum PressureLevel: Int, Comparable, Sendable, CaseIterable, CustomStringConvertible {
  /// Nobody complained for a while.
  case normal
  /// Memory is being reclaimed, but what goes is page cache: v1 says `low`, or a v2 limit was
  /// reached while most of what is charged could be dropped. Drop what is cheap to make again.
  case low
  /// Tasks wait for memory some of the time (PSI `some`), v1 says `medium`, v2's `memory.high`
  /// was breached, or the group is nearly full. Shrink caches; start nothing large.
  case medium
  /// All tasks wait at once (PSI `full`), v1 says `critical`, v2's `memory.max` was reached or the
  /// OOM killer called, or the group is full. Give back whatever can be: death is near.
  case critical

  public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }

  public var description: String {
    switch self {
    case .normal: "normal"
    case .low: "low"
    case .medium: "medium"
    case .critical: "critical"
    }
  }
}

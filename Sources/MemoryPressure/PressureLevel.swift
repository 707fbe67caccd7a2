/// How short of memory the process is, and what it should do about it.
///
/// The names are the kernel's (`memory.pressure_level` of cgroup v1). `normal` is added for no
/// pressure.
public enum PressureLevel: Int, Comparable, Sendable, CaseIterable, CustomStringConvertible {
  /// No source has reported pressure for a while.
  case normal
  /// The kernel reclaims memory, but only page cache: v1 reports `low`, or a v2 limit was reached
  /// while most of the charged memory could be dropped. Drop what you can cheaply make again.
  case low
  /// Tasks wait for memory some of the time (PSI `some`), v1 reports `medium`, the group exceeded
  /// v2's `memory.high`, or the group is nearly full. Shrink caches, and start nothing large.
  case medium
  /// All tasks wait at the same time (PSI `full`), v1 reports `critical`, the group reached v2's
  /// `memory.max` or the OOM killer was called, or the group is full. Give back all that you can:
  /// the process is about to be killed.
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

/// A source of memory pressure on this machine.
public struct PressureSource: Sendable, Hashable, CustomStringConvertible {
  public enum Kind: Sendable, Hashable, CaseIterable {
    /// PSI of the whole machine: `/proc/pressure/memory`.
    case systemStall
    /// PSI of the control group: v2's `memory.pressure`.
    case groupStall
    /// v2's `memory.events`: a limit was reached.
    case limitEvents
    /// v1's `memory.pressure_level`: reclaim finds ever fewer pages to take.
    case pressureLevel
    /// The group's use against its limit, read at regular intervals.
    case usage
  }

  public let kind: Kind
  /// The file, or the group's directory.
  public let path: String
  /// What the source reports, and which level that means.
  public let detail: String

  public var description: String { "\(path): \(detail)" }
}

/// A source that is not in use, and the reason.
public struct UnavailableSource: Sendable, Equatable, CustomStringConvertible {
  public let source: PressureSource
  public let reason: PressureError
  public var description: String { "\(source): \(reason)" }
}

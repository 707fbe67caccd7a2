/// A source of memory pressure on this machine.
public struct PressureSource: Sendable, Hashable, CustomStringConvertible {
  /// The kinds of source. A machine may have several of one kind.
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

  /// What kind of source it is.
  public let kind: Kind
  /// The file, or the group's directory.
  public let path: String
  /// What the source reports, and which level that means.
  public let detail: String

  public var description: String { "\(path): \(detail)" }
}

/// A source that is not in use, and the reason.
public struct UnavailableSource: Sendable, Equatable, CustomStringConvertible {
  /// The source that would have been used.
  public let source: PressureSource
  /// Why it cannot be used, or what failed while it was in use.
  public let reason: PressureError
  public var description: String { "\(source): \(reason)" }
}

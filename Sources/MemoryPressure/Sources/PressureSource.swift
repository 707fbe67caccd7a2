/// Something on this machine that tells of memory pressure.
public struct PressureSource: Sendable, Hashable, CustomStringConvertible {
  public enum Kind: Sendable, Hashable, CaseIterable {
    /// PSI of the whole machine: `/proc/pressure/memory`.
    case systemStall
    /// PSI of the control group: v2's `memory.pressure`.
    case groupStall
    /// v2's `memory.events`: a limit was reached.
    case limitEvents
    /// v1's `memory.pressure_level`: reclaim finds less and less.
    case pressureLevel
    /// The use of the group against its limit, looked at regularly.
    case usage
  }

  public let kind: Kind
  /// The file, or the group's folder.
  public let path: String
  /// What is asked of it, and which level that means.
  public let detail: String

  public var description: String { "\(path): \(detail)" }
}

/// A source that is not used, and why.
public struct UnavailableSource: Sendable, Equatable, CustomStringConvertible {
  public let source: PressureSource
  public let reason: PressureError
  public var description: String { "\(source): \(reason)" }
}

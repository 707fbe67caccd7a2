import HugeMemory

/// The measurements behind `hugemem bench SCENARIO`. Each has a file in `Scenarios/`.
public enum Scenario: String, CaseIterable, Sendable {
  /// The figure of 2012: the memory that it takes to read 200 MiB that nobody wrote.
  case zeroPage = "zero-page"
  /// Read faults in parallel, for each policy of references on the zero page. Then the cost of
  /// faults, splits and collapses, beside the kernel's.
  case faults
  /// Forks of a large space, and the first write in one.
  case fork
  /// Reads and writes of resident memory against `memcpy`.
  case io
  /// The memory that scattered writes take, and the memory that stays after their discard.
  case memory
  /// Writes during reclaim, and the time that a refused write takes.
  case reclaim

  public var summary: String {
    switch self {
    case .zeroPage:
      "memory that reading 200 MiB of untouched memory takes, with and without the page"
    case .faults: "read faults in parallel by reference policy; huge pages beside the kernel's"
    case .fork: "forking a 1 TiB space with 1 GiB of data, and the first write"
    case .io: "random 4 KiB reads and writes against memcpy on a flat mapping"
    case .memory: "memory for scattered 4 KiB writes, and what stays after their discard"
    case .reclaim: "4 KiB writes near the low watermark beside reclaim; refusals when full"
    }
  }
}

/// What you can set. A scenario ignores the options that it does not use.
public struct Options: Sendable {
  /// Spaces that fault in parallel.
  public var spaces = 40
  /// Threads that share the spaces; 0 for one on each core.
  public var threads = 0
  /// Read faults of this policy alone, so that a profiler can count them.
  package var reference: Policy.ZeroReference?
  /// Rounds of everything that is compared; 0 for the scenario's default.
  public var rounds = 0
  /// Working set of `io`, and data of `fork` and `reclaim`, in MiB; 0 for the scenario's default.
  public var megabytes = 0

  public init() {}
}

/// Runs one scenario. This takes seconds and up to 1.5 GiB of memory. Nothing else should run on
/// the machine meanwhile.
public func run(_ scenario: Scenario, options: Options = Options()) throws(MemoryError) -> Report {
  switch scenario {
  case .zeroPage: try zeroPage()
  case .faults: try faults(options)
  case .fork: try fork(options)
  case .io: try io(options)
  case .memory: try memory()
  case .reclaim: try reclaim(options)
  }
}

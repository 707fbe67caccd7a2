import HugeMemory

/// The measurements behind `hugemem bench SCENARIO`. Each has a file in `Scenarios/`.
public enum Scenario: String, CaseIterable, Sendable {
  /// The figure of 2012: what it costs to read 200 MiB that nobody wrote.
  case zeroPage = "zero-page"
  /// Read faults in parallel, by who holds references on the zero page; then what faults, splits
  /// and collapses cost, beside the kernel's own.
  case faults
  /// Forks of a large space, and the first write in one.
  case fork
  /// Reads and writes of resident memory against `memcpy`.
  case io
  /// What scattered writes occupy, and what stays after their discard.
  case memory
  /// Writes beside reclaim, and what a refused one takes.
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

/// What a person may turn. A scenario takes no notice of what does not concern it.
public struct Options: Sendable {
  /// Spaces that fault in parallel.
  public var spaces = 40
  /// Threads that they are shared out on; 0 stands for one a core.
  public var threads = 0
  /// Rounds of everything that is compared; 0 stands for the scenario's own choice.
  public var rounds = 0
  /// Working set of `io`, data of `fork` and `reclaim`, in MiB.
  public var megabytes = 0

  public init() {}
}

/// Runs one scenario. It takes seconds, up to 1.5 GiB of memory, and wants the machine to itself.
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

import CKernelOracle

/// Runs programs on the kernel, with real mappings of real processes.
@safe final class Kernel: Subject {
  enum Failure: Error { case noServer, hung, tooLarge, noScan, disturbed(String) }

  private let oracle: OpaquePointer
  /// How much the system's counters grew during the last program.
  private(set) var growth = ko_counters()

  init() throws {
    guard let oracle = unsafe ko_open() else { throw Failure.noServer }
    unsafe self.oracle = unsafe oracle
  }
  deinit { unsafe ko_close(oracle) }

  func run(_ program: [Step]) throws -> [Observation] {
    // Others use the system too. If no huge page was free, or khugepaged passed by, the result says
    // nothing about the program.
    var reason = ""
    for _ in 0..<4 {
      let observations = try runOnce(program)
      let growth = growth
      if growth.thp_fault_fallback > 0 {
        reason = "no huge page to be had"
      } else if growth.khugepaged_pages_collapsed > 0 {
        reason = "khugepaged passed by"
      } else if growth.pages_elsewhere > 0 {
        reason = "pages were swapped or migrated"
      } else {
        return observations
      }
    }
    throw Failure.disturbed(reason)
  }

  private func runOnce(_ program: [Step]) throws -> [Observation] {
    let steps = program.map(\.kernelStep)
    let status = unsafe ko_execute(oracle, steps, UInt32(steps.count), 60_000)
    switch status {
    case Int32(KO_DONE.rawValue): break
    case Int32(KO_HUNG.rawValue): throw Failure.hung
    case Int32(KO_TOO_LARGE.rawValue): throw Failure.tooLarge
    case Int32(KO_NO_SCAN.rawValue): throw Failure.noScan
    default: throw Failure.noServer
    }
    growth = unsafe ko_growth(oracle).pointee
    let records = unsafe UnsafeBufferPointer(start: ko_records(oracle), count: steps.count)
    // Views that did not change are the same range of runs, so each range is converted only once.
    var made: [UInt64: [Run]] = [:]
    return unsafe zip(program, records).map { step, record in
      observation(step, record, &made)
    }
  }

  private func observation(
    _ step: Step, _ record: ko_record, _ made: inout [UInt64: [Run]]
  ) -> Observation {
    var views: [Int: [Run]] = [:]
    let starts = [
      record.runs_start.0, record.runs_start.1, record.runs_start.2, record.runs_start.3,
    ]
    let counts = [
      record.runs_count.0, record.runs_count.1, record.runs_count.2, record.runs_count.3,
    ]
    for process in 0..<KO_PROCESSES where record.live >> UInt32(process) & 1 != 0 {
      let key = UInt64(starts[process]) << 32 | UInt64(counts[process])
      if made[key] == nil {
        let start = unsafe ko_runs(oracle) + Int(starts[process])
        made[key] = unsafe UnsafeBufferPointer(start: start, count: Int(counts[process])).map {
          Run(first: Int($0.first), count: Int($0.count), state: $0.state, digest: $0.digest)
        }
      }
      views[process] = made[key]
    }
    let outcome = Self.outcome(step, record.outcome)
    let isRead = step.operation == .read && outcome == .ok
    return Observation(outcome: outcome, value: isRead ? record.value : 0, views: views)
  }

  /// The outcome of a call: what its errno means for that call.
  private static func outcome(_ step: Step, _ code: Int32) -> Outcome {
    let (noMemory, invalid, fault): (Int32, Int32, Int32) = (12, 22, 14)
    switch code {
    case 0: return .ok
    case Int32(KO_NOT_MAPPED): return .notMapped
    case Int32(KO_DENIED): return .denied
    case Int32(KO_NO_PROCESS): return .noProcess
    default: break
    }
    switch step.operation {
    case .move where code == fault: return .notMapped
    case .move where code == invalid: return .overlap
    case .protect where code == noMemory: return .notMapped
    case .advise(KO_COLLAPSE): return code == noMemory ? .notMapped : .notCollapsible
    case .advise(KO_POPULATE_READ), .advise(KO_POPULATE_WRITE):
      return code == noMemory
        ? .notMapped : code == invalid || code == fault ? .denied : .other(code)
    case .advise where code == noMemory: return .notMapped
    default: return .other(code)
    }
  }
}

import CKernelOracle

/// The outcome of a step, in terms that both sides have.
enum Outcome: Equatable {
  case ok
  case notMapped, denied, notCollapsible, overlap, noMemory
  /// There was no such process, which can happen in a shrunk program.
  case noProcess
  case other(Int32)
}

/// Neighbouring pages with the same state and contents.
struct Run: Equatable, CustomStringConvertible {
  var first: Int
  var count: Int
  var state: UInt32
  var digest: UInt64

  var description: String {
    let kind = state & UInt32(KO_ZERO) != 0 ? "zero" : "data"
    let size = state & UInt32(KO_IS_HUGE) != 0 ? "huge" : "small"
    let contents = kind == "zero" ? "" : " #\(String(digest, radix: 16).prefix(6))"
    return "[\(first)..<\(first + count)) \(kind) \(size)\(contents)"
  }
}

/// What all live processes see after a step. Absent pages are in no run.
struct Observation: Equatable {
  var outcome: Outcome
  var value: UInt64 = 0
  var views: [Int: [Run]]
}

/// A subject of the tests that runs programs: the kernel or the engine.
protocol Subject {
  /// Returns one observation for each step. There are fewer only if the run broke off.
  mutating func run(_ program: [Step]) throws -> [Observation]
}

/// The first step at which two runs differ.
struct Difference: CustomStringConvertible {
  var step: Int
  var kernel: Observation?
  var engine: Observation?

  init?(_ kernel: [Observation], _ engine: [Observation]) {
    let common = min(kernel.count, engine.count)
    let first = (0..<common).first { kernel[$0] != engine[$0] }
    guard let step = first ?? (kernel.count == engine.count ? nil : common) else { return nil }
    self.step = step
    self.kernel = step < kernel.count ? kernel[step] : nil
    self.engine = step < engine.count ? engine[step] : nil
  }

  var description: String {
    var lines: [String] = []
    func outcome(_ side: Observation?) -> String {
      side.map { "\($0.outcome), value \($0.value)" } ?? "nothing"
    }
    if kernel?.outcome != engine?.outcome || kernel?.value != engine?.value {
      lines.append("  kernel: \(outcome(kernel))   engine: \(outcome(engine))")
    }
    let processes = Set((kernel?.views ?? [:]).keys).union((engine?.views ?? [:]).keys)
    for process in processes.sorted() {
      let (left, right) = (kernel?.views[process], engine?.views[process])
      guard left != right else { continue }
      for (name, runs, other) in [("kernel", left, right), ("engine", right, left)] {
        let own = (runs ?? []).filter { !(other ?? []).contains($0) }
        lines.append("  process \(process), \(name): \(own.prefix(8).map(\.description))")
      }
    }
    return lines.joined(separator: "\n")
  }
}

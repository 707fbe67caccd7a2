import Interleave
import Testing

@testable import ProtocolsModel

/// The frames of a scenario. Production code allocates from it as from the arena.
struct Frames: ZeroFrameSource {
  let heap: ModelHeap
  init(_ capacity: Int) { heap = ModelHeap(capacity: capacity) }
  func allocateZeroFrame() -> UInt32? { heap.allocate() }
  func freeZeroFrame(_ frame: UInt32) { heap.free(frame) }
}

/// A zero page and its frames. A page that a user holds must read as zeros.
final class Machine {
  let zeroPage = HugeZeroPage()
  let frames: Frames
  init(frames capacity: Int) { frames = Frames(capacity) }

  func get() -> UInt32? {
    switch zeroPage.get(from: frames) {
    case .shared(let frame), .published(let frame): frame
    case .unavailable: nil
    }
  }
  func use(_ frame: UInt32) { check(frames.heap.load(frame) == 0, "the zero page is not zero") }

  /// Checks that at rest the count is 0, or 1 plus the holders, and that no other frames than
  /// `others` are allocated.
  func checkAtRest(holders: UInt32 = 0, others: Int = 0) {
    let (frame, count) = zeroPage.snapshot()
    check(count == (frame == 0 ? 0 : 1 + holders), "count \(count) with \(holders) holders")
    check(frame != 0 || holders == 0, "holders of no page")
    check(frames.heap.liveCount == (frame == 0 ? 0 : 1) + others, "a frame leaked")
  }
}

/// Explores a scenario, expects no failure, and prints a line for the table. It is an error if the
/// budget is exhausted first, unless the scenario is known to be too large for it.
func verify(
  _ name: String, _ scenario: (Scenario) -> Void, with checker: Checker = Checker(),
  mayExhaustBudget: Bool = false,
  sourceLocation: SourceLocation = #_sourceLocation
) {
  let report = checker.run(scenario)
  print("\(name): \(report)")
  let isExhausted = if case .budgetExhausted = report.verdict { true } else { false }
  #expect(
    report.failure == nil && (mayExhaustBudget || !isExhausted), "\(name): \(report)",
    sourceLocation: sourceLocation)
}

/// Makes the orderings in the files one step weaker, one at a time, and runs the scenarios with
/// each, within their bounds on preemptions. Prints the result of each weakening. Returns the
/// number of weakenings, and those that no scenario noticed.
func weaken(
  files: Set<String>, _ scenarios: [(scenario: (Scenario) -> Void, bound: Int?)]
) -> (count: Int, unnoticed: [Weakening]) {
  var results: [Weakening: Report] = [:]
  var options = Checker.Options()
  options.shortensTrace = false
  for (scenario, bound) in scenarios {
    options.preemptionBound = bound
    for (weakening, report) in Checker(options).weaken(files: files, scenario)
    where results[weakening]?.failure == nil {
      results[weakening] = report
    }
  }
  let lines = results.map { "\($0): \($1.failure.map { "\($0.kind)" } ?? "not noticed")" }
  print(lines.sorted().joined(separator: "\n"))
  return (results.count, results.filter { $0.value.failure == nil }.map(\.key))
}

/// Explores a scenario, expects its planted bug to be found, and prints the shortest trace.
func refute(
  _ name: String, _ kinds: Set<Failure.Kind>, _ scenario: (Scenario) -> Void,
  with checker: Checker = Checker(), sourceLocation: SourceLocation = #_sourceLocation
) {
  let report = checker.run(scenario)
  print("\(name): \(report)")
  #expect(
    report.failure.map { kinds.contains($0.kind) } == true, "\(name): \(report)",
    sourceLocation: sourceLocation)
}

/// Whether this is an optimized build. An unoptimized one takes forty times as long, so it leaves
/// the large scenarios to `make interleave`.
let isOptimized: Bool = {
  var optimized = true
  assert(
    {
      optimized = false
      return true
    }())
  return optimized
}()

import CKernelOracle
import Testing

@testable import Frames
@testable import HugeMemory

extension OracleTests {
  /// Runs programs again and makes one of their allocations fail, each in turn: either only that
  /// one, so that reclaim helps, or all until the end of the step. A step that runs out of memory
  /// changes nothing, and any other step does all of its work. Nothing traps, and nothing leaks.
  @Test(arguments: [false, true]) func anyAllocationMayFail(untilTheEndOfTheStep: Bool) throws {
    let first = UInt64(Self.setting("ORACLE_SEED", default: 1)) &+ 1 << 32
    for seed in first..<first + UInt64(Self.setting("ORACLE_FAILING", default: 4)) {
      var generator = Generator(seed: seed)
      let program = generator.program(steps: 100)
      var undisturbed = try Engine(.linux)
      undisturbed.machine.arena.failing.store(1 << 40, .relaxed)
      let expected = try undisturbed.run(program)
      let allocations = 1 << 40 - undisturbed.machine.arena.failing.load(.relaxed)
      #expect(allocations > 10, "seed \(seed) allocates")
      for failing in 1...allocations {
        let word = failing | (untilTheEndOfTheStep ? 1 << 63 : 0)
        if let problem = try run(program, expected, failing: word) {
          Issue.record("seed \(seed), allocation \(failing) of \(allocations): \(problem)")
          return
        }
      }
    }
  }

  /// Runs a program with a failing allocation. Returns what is wrong, or nil.
  private func run(
    _ program: [Step], _ expected: [Observation], failing: UInt64
  ) throws -> String? {
    var engine = try Engine(.linux)
    let arena = engine.machine.arena
    try engine.begin()
    arena.failing.store(failing, .relaxed)
    for (index, step) in program.enumerated() {
      let observed = engine.perform(step)
      guard arena.failing.load(.relaxed) >> 62 & 1 != 0 else { continue }
      arena.failing.store(0, .relaxed)
      let wanted = expected[observed.outcome == .noMemory ? index - 1 : index]
      // If nothing could be mapped, there is nothing to collapse.
      let isSame =
        observed.outcome == .noMemory || observed.outcome == wanted.outcome
        || step.operation == .advise(KO_COLLAPSE)
      guard isSame, contents(observed) == contents(wanted) else {
        let lines = program[...index].map(\.description).joined(separator: "\n")
        return "\(observed.outcome), half done\n\(lines)\n\(observed.views)\n\(wanted.views)"
      }
      // The program goes on, although from another state.
      for step in program.dropFirst(index + 1).prefix(20) { _ = engine.perform(step) }
      break
    }
    engine.end()
    engine.machine.shrink()
    let (used, references) = (engine.machine.memoryUsed, engine.machine.zeroPageReferences)
    return used == 0 && references == 0
      ? nil : "\(used) bytes and \(references) references are left at the end"
  }

  /// What every process would read: the pages that do not read as zeros.
  private func contents(_ observation: Observation) -> [Int: [Run]] {
    observation.views.mapValues { runs in
      var found: [Run] = []
      for var run in runs where run.digest != 0 {
        // Ignore how the page is mapped.
        run.state = 0
        if let last = found.last, last.first + last.count == run.first, last.digest == run.digest {
          found[found.count - 1].count += run.count
        } else {
          found.append(run)
        }
      }
      return found
    }
  }
}

import CKernelOracle
import Testing

@testable import Frames
@testable import HugeMemory

/// Programs during which an allocation fails: once for every allocation that they make. A step
/// that ran out of memory has left everything as it was, or done all of it; nothing leaks.
extension OracleTests {
  /// Fails one allocation only, so that reclaim helps, or all until the end of the step.
  @Test(arguments: [false, true]) func anyAllocationMayFail(untilTheEndOfTheStep: Bool) throws {
    for seed in 1...UInt64(Self.setting("ORACLE_FAILING", default: 8)) {
      var generator = Generator(seed: seed &+ 2 << 32)
      let program = generator.program(steps: 120)
      var counting = try Engine(Policy())
      counting.machine.arena.failing.store(1 << 40, .relaxed)
      _ = try counting.run(program)
      let allocations = 1 << 40 - counting.machine.arena.failing.load(.relaxed)
      #expect(allocations > 10, "the program allocates")
      for failing in 1...allocations {
        let problem = try run(program, failing: failing | (untilTheEndOfTheStep ? 1 << 63 : 0))
        if let problem {
          Issue.record("seed \(seed), allocation \(failing) of \(allocations): \(problem)")
          return
        }
      }
    }
  }

  /// Runs a program with a failure beside its twin without; returns what is wrong.
  private func run(_ program: [Step], failing: UInt64) throws -> String? {
    var subject = try Engine(Policy())
    var twin = try Engine(Policy())
    try subject.begin()
    try twin.begin()
    let arena = subject.machine.arena
    arena.failing.store(failing, .relaxed)
    for (index, step) in program.enumerated() {
      let before = subject.observed
      let outcome = subject.perform(step).outcome
      let hasFailed = arena.failing.load(.relaxed) >> 62 & 1 != 0
      if hasFailed { arena.failing.store(0, .relaxed) }
      if outcome == .noMemory {
        guard contents(subject.observed) == contents(before) else {
          return "step \(index), \(step): out of memory, and half done\n" + lines(program, index)
        }
        continue
      }
      let expected = twin.perform(step).outcome
      // Where nothing could be mapped before, there is nothing to collapse.
      let isSame = outcome == expected || step.operation == .advise(KO_COLLAPSE)
      guard isSame else {
        return "step \(index), \(step): \(outcome), not \(expected)\n" + lines(program, index)
      }
      if hasFailed || index == program.count - 1,
        contents(subject.observed) != contents(twin.observed)
      {
        return "step \(index), \(step): other contents\n" + lines(program, index)
      }
    }
    subject.end()
    twin.end()
    subject.machine.shrink()
    let (used, references) = (subject.machine.memoryUsed, subject.machine.zeroPageReferences)
    return used == 0 && references == 0
      ? nil : "\(used) bytes and \(references) references are left at the end"
  }

  private func lines(_ program: [Step], _ index: Int) -> String {
    program[...index].map(\.description).joined(separator: "\n")
  }

  /// What every process would read: pages that do not read as zeros.
  private func contents(_ observed: [Int: [Run]]) -> [Int: [Int: UInt64]] {
    observed.mapValues { runs in
      var pages: [Int: UInt64] = [:]
      for run in runs where run.digest != 0 {
        for page in run.first..<run.first + run.count { pages[page] = run.digest }
      }
      return pages
    }
  }
}

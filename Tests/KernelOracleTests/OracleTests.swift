import CKernelOracle
import Foundation
import Testing

@testable import HugeMemory

/// Random programs on the kernel and on the engine. After every step all processes must see the
/// same contents, and every page must be in the same state: absent, zero or data, huge or small.
///
/// `ORACLE_PROGRAMS`, `ORACLE_STEPS` and `ORACLE_SEED` select the programs. `make oracle` sets
/// them.
@Suite(.serialized) struct OracleTests {
  static func setting(_ name: String, default value: Int) -> Int {
    ProcessInfo.processInfo.environment[name].flatMap { Int($0) } ?? value
  }

  @Test(.enabled(if: KernelFacts.unfit == nil, "\(KernelFacts.unfit ?? "")"))
  func theEngineDoesAsTheKernelDoes() throws {
    let programs = Self.setting("ORACLE_PROGRAMS", default: 200)
    let steps = Self.setting("ORACLE_STEPS", default: 200)
    let first = Self.setting("ORACLE_SEED", default: 1)
    let kernel = try Kernel()
    let policy = try KernelFacts.policy(kernel)
    var disturbed = 0
    for seed in first..<first + programs {
      var generator = Generator(seed: UInt64(seed))
      let program = generator.program(steps: steps)
      do {
        guard let found = try difference(program, kernel, policy) else { continue }
        // A difference that does not occur again comes from other load on the system.
        guard try difference(program, kernel, policy) != nil else {
          disturbed += 1
          print("oracle: seed \(seed) differed once and not again:\n\(found)")
          continue
        }
      } catch Kernel.Failure.disturbed(let reason) {
        disturbed += 1
        print("oracle: seed \(seed) skipped: \(reason)")
        continue
      }
      let small = shrink(program) { ((try? difference($0, kernel, policy)) ?? nil) != nil }
      let left = try difference(small, kernel, policy)
      Issue.record(
        """
        seed \(seed), shrunk to \(small.count) steps; they differ after step \(left?.step ?? -1):
        \(small.map(\.description).joined(separator: "\n"))
        \(left?.description ?? "")
        """)
      return
    }
    print("oracle: \(programs - disturbed) programs of \(steps) steps agree")
    #expect(disturbed * 4 <= programs, "the system was too busy to tell")
  }

  private func difference(
    _ program: [Step], _ kernel: Kernel, _ policy: Policy
  ) throws -> Difference? {
    var engine = try Engine(policy)
    let expected = try kernel.run(program)
    let observed = try engine.run(program)
    engine.machine.expectBaseline()
    return Difference(expected, observed)
  }
}

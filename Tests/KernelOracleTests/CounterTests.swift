import CKernelOracle
import Foundation
import Testing

@testable import HugeMemory

extension OracleTests {
  /// What the engine counts under the kernel's names is what the kernel counts for the same
  /// program. Its counters are the whole system's: other tests must not run meanwhile, and a program
  /// during which somebody else moved them is run again.
  @Test(
    .enabled(if: KernelFacts.unfit == nil, "\(KernelFacts.unfit ?? "")"),
    .enabled(if: isAlone, "other tests move the kernel's counters: `make oracle` runs it alone"))
  func countersCountWhatTheKernelsCount() throws {
    let kernel = try Kernel()
    let policy = try KernelFacts.policy(kernel)
    let seeds = 1...UInt64(Self.setting("ORACLE_COUNTED", default: 40))
    let programs = seeds.map { seed in
      var generator = Generator(seed: seed &+ 1 << 32)
      return generator.program(steps: 120).filter {
        $0.process == 0 && $0.operation != .fork && $0.operation != .exit
      }
    }
    // First the kernel's side of all: once the engine has read its fresh memory, this process holds
    // the kernel's zero page.
    let kernels = try programs.map { try growth(of: $0, on: kernel) }
    var held = 0
    for (seed, (program, expected)) in zip(seeds, zip(programs, kernels)) {
      guard var expected else {
        print("oracle: counters of seed \(seed) not compared: others kept moving them")
        continue
      }
      var engine = try Engine(policy)
      _ = try engine.run(program)
      let own = Growth(engine.machine)
      // No allocation where one is needed: another process holds the page, so it did not go.
      if expected.zeroPageAlloc < own.zeroPageAlloc {
        held += 1
        expected.zeroPageAlloc = own.zeroPageAlloc
      }
      let lines = program.map(\.description).joined(separator: "\n")
      #expect(own == expected, "seed \(seed)\n\(lines)")
    }
    let compared = kernels.count { $0 != nil }
    print(
      "oracle: counters of \(compared) of \(programs.count) programs compared; "
        + "thp_zero_page_alloc not of \(held), since others held the page")
    #expect(compared * 2 > programs.count, "the system was too busy to tell")
  }

  /// What the kernel counts for a program, twice in a row the same; nil if it never settles.
  private func growth(
    of program: [Step], on kernel: Kernel
  ) throws -> Growth? {
    var last: Growth?
    for _ in 0..<8 {
      dropZeroPage()
      _ = try kernel.run(program)
      let growth = Growth(kernel.growth)
      if growth == last { return growth }
      last = growth
    }
    return nil
  }

  /// Lets the kernel's shrinkers run; needs root.
  private func dropZeroPage() {
    try? "2".write(toFile: "/proc/sys/vm/drop_caches", atomically: false, encoding: .utf8)
  }
}

/// `make oracle` says so.
private let isAlone = ProcessInfo.processInfo.environment["ORACLE_ALONE"] != nil

/// The counters that both have.
private struct Growth: Equatable, CustomStringConvertible {
  var zeroPageAlloc: UInt64
  var faultAlloc: UInt64
  var faultFallback: UInt64
  var splitPMD: UInt64
  var collapseAlloc: UInt64

  init(_ counters: ko_counters) {
    zeroPageAlloc = counters.thp_zero_page_alloc
    faultAlloc = counters.thp_fault_alloc
    faultFallback = counters.thp_fault_fallback
    splitPMD = counters.thp_split_pmd
    collapseAlloc = counters.thp_collapse_alloc
  }

  init(_ machine: Machine) {
    zeroPageAlloc = machine[counter: "thp_zero_page_alloc"]
    faultAlloc = machine[counter: "thp_fault_alloc"]
    faultFallback = machine[counter: "thp_fault_fallback"]
    splitPMD = machine[counter: "thp_split_pmd"]
    collapseAlloc = machine[counter: "thp_collapse_alloc"]
  }

  var description: String {
    "zero \(zeroPageAlloc) fault \(faultAlloc) fallback \(faultFallback) split \(splitPMD) "
      + "collapse \(collapseAlloc)"
  }
}

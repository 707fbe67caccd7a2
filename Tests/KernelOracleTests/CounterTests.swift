import CKernelOracle
import Foundation
import Testing

@testable import HugeMemory

extension OracleTests {
  /// For the same program, the engine's counters grow as the kernel's counters of the same names.
  /// The kernel's counters are those of the whole system. So no other test may run at the same
  /// time, and a program is run again if somebody else moved the counters.
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
    // Run all programs on the kernel first: once the engine has read its fresh memory, this process
    // holds the kernel's zero page.
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
      // The kernel did not have to allocate the zero page, because another process holds it.
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

  /// How much the kernel's counters grow during a program, once two runs in a row agree; nil if
  /// they never do.
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

  /// Makes the kernel run its shrinkers. This needs root.
  private func dropZeroPage() {
    try? "2".write(toFile: "/proc/sys/vm/drop_caches", atomically: false, encoding: .utf8)
  }
}

/// Whether no other test runs. `make oracle` sets this.
private let isAlone = ProcessInfo.processInfo.environment["ORACLE_ALONE"] != nil

/// The growth of the counters that both sides have.
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

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
    let sharesZeroPage = try !freesZeroPage(kernel)
    if sharesZeroPage { print("oracle: thp_zero_page_alloc not compared: others hold the page") }
    for seed in 1...UInt64(Self.setting("ORACLE_COUNTED", default: 40)) {
      var generator = Generator(seed: seed &+ 1 << 32)
      let program = generator.program(steps: 120).filter {
        $0.process == 0 && $0.operation != .fork && $0.operation != .exit
      }
      var engine = try Engine(policy)
      _ = try engine.run(program)
      let own = Growth(engine.machine)
      guard let kernels = try growth(of: program, on: kernel, dropping: !sharesZeroPage, like: own)
      else {
        print("oracle: counters of seed \(seed) not compared: others kept moving them")
        continue
      }
      if kernels == own { continue }
      let small = shrink(program) { trial in
        guard var engine = try? Engine(policy), (try? engine.run(trial)) != nil else {
          return false
        }
        let own = Growth(engine.machine)
        let kernels = try? growth(of: trial, on: kernel, dropping: !sharesZeroPage, like: own)
        return kernels != nil && kernels != own
      }
      Issue.record(
        """
        seed \(seed): the engine counts \(own), the kernel \(kernels)
        \(small.map(\.description).joined(separator: "\n"))
        """)
      return
    }
  }

  /// What the kernel counts for a program: `own`, or twice in a row the same; nil if it never
  /// settles.
  private func growth(
    of program: [Step], on kernel: Kernel, dropping: Bool, like own: Growth
  ) throws -> Growth? {
    var last: Growth?
    for _ in 0..<8 {
      if dropping { dropZeroPage() }
      _ = try kernel.run(program)
      var growth = Growth(kernel.growth)
      if !dropping { growth.zeroPageAlloc = own.zeroPageAlloc }
      if growth == own { return growth }
      // The page was there all along: the last program's process, or another, still had it.
      if growth.zeroPageAlloc < own.zeroPageAlloc { continue }
      if growth == last { return growth }
      last = growth
    }
    return nil
  }

  /// Lets the kernel's shrinkers run; needs root.
  private func dropZeroPage() {
    try? "2".write(toFile: "/proc/sys/vm/drop_caches", atomically: false, encoding: .utf8)
  }

  /// Whether the kernel's zero page goes when we drop it: nobody else holds it, and we may.
  private func freesZeroPage(_ kernel: Kernel) throws -> Bool {
    for _ in 0..<2 {
      dropZeroPage()
      _ = try kernel.run(
        program(
          """
          0: map 0..<512
          0: huge 0..<512
          0: read 0.0
          """))
      if kernel.growth.thp_zero_page_alloc != 1 { return false }
    }
    return true
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
    func value(_ name: String) -> UInt64 { machine.counters.first { $0.name == name }!.value }
    zeroPageAlloc = value("thp_zero_page_alloc")
    faultAlloc = value("thp_fault_alloc")
    faultFallback = value("thp_fault_fallback")
    splitPMD = value("thp_split_pmd")
    collapseAlloc = value("thp_collapse_alloc")
  }

  var description: String {
    "zero \(zeroPageAlloc) fault \(faultAlloc) fallback \(faultFallback) split \(splitPMD) "
      + "collapse \(collapseAlloc)"
  }
}

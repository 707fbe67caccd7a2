import Foundation
import Interleave
import Testing

@testable import ProtocolsModel

/// The engine on a memory file, production source: two operations at once, and a crash at every step.
///
/// This is one suite with the engine's other tests: the engine has globals, so its scenarios run
/// one at a time.
extension SpaceTests {
  static func crashScenario(
    _ a: DiskOperation, _ b: DiskOperation, _ planted: CrashDisks.Planted? = nil
  ) -> (Scenario) -> Void {
    { scenario in
      let both = [a, b]
      let disks = CrashDisks(
        both.contains(.split) ? .huge : both.compactMap(\.needsPages).first ?? .small,
        isForked: both.contains { $0.needsFork == true },
        hasOwn: both.contains(.remove), hasZeros: both.contains(.dropZeros),
        hasZeroPage: both.contains(.revoke), planted)
      disks.effects = [a.effect(0), b.effect(1)]
      for (thread, operation) in both.enumerated() {
        let other = both[1 - thread]
        scenario.thread("\(thread): \(operation)") {
          Requests.began(thread, disks.requests)
          let answer = operation.run(on: disks, thread, with: other)
          catchUp()
          forget(Int(answer))
          Requests.answered(thread, answer, disks.requests)
        }
      }
      scenario.finally { disks.finish() }
      scenario.afterCrash {
        disks.recover()
      } check: {
        disks.verify($0)
      }
    }
  }

  /// Pairs whose operations need the same disks.
  static let crashPairs = DiskOperation.allCases.enumerated().flatMap { index, a in
    DiskOperation.allCases[index...].filter { b in
      (a.needsFork == nil || b.needsFork == nil || a.needsFork == b.needsFork)
        && (a.needsPages == nil || b.needsPages == nil || (a == .writeFirst) == (b == .writeFirst))
        // A disk is named once and removed once.
        && (a != b || a != .fork && a != .remove)
    }.map { (a, $0) }
  }

  static func runCrashes(
    _ a: DiskOperation, _ b: DiskOperation, bound: Int?, _ planted: CrashDisks.Planted? = nil
  ) -> Report {
    var checker = checker
    checker.options.preemptionBound = bound
    checker.options.maximalDuration = .seconds(seconds ?? 600)
    // The time is the limit.
    checker.options.maximalExecutions = .max
    plantsLate = planted?.late
    defer {
      plantsLate = nil
      memoryFile = nil
    }
    return checker.run(crashScenario(a, b, planted))
  }

  /// Pairs with too many schedules for `make interleave`.
  static let largePairs: Set = [
    "write, write of the fork", "write fault, write of the fork",
    "write of the fork, discard of a page", "write of the fork, discard of a slot",
    "write of the fork, collapse",
  ]

  /// For `make crashes`: the time for each pair, and the most preemptions; the frames (`CrashDisks`).
  static let seconds = number("CRASHES")
  static let bound = number("CRASH_BOUND")
  static func number(_ name: String) -> Int? {
    ProcessInfo.processInfo.environment[name].flatMap { Int($0) }
  }

  @Test(.enabled(if: isOptimized, "make interleave, make crashes"), arguments: [false, true])
  func crashesOfEachOperationAgainstEach(isLarge: Bool) {
    var executions = 0, crashes = 0, explored = 0
    let chosen = ProcessInfo.processInfo.environment["CRASH_NAME"] ?? ""
    for (a, b) in Self.crashPairs {
      let name = "\(a), \(b)"
      guard Self.largePairs.contains(name) == isLarge, chosen.isEmpty || name.contains(chosen)
      else { continue }
      let bound = isLarge && Self.seconds == nil ? 2 : Self.bound
      let report = Self.runCrashes(a, b, bound: bound)
      print("crash: engine: \(name): \(report)")
      fflush(nil)
      let isExhausted = if case .budgetExhausted = report.verdict { true } else { false }
      #expect(report.failure == nil && !isExhausted, "\(name): \(report)")
      executions += report.executions
      crashes += report.crashes
      explored += 1
    }
    print("crash: engine: \(explored) pairs: \(executions) executions, \(crashes) crashes")
  }

  /// A few of them, for an unoptimized build.
  @Test(arguments: [
    (DiskOperation.writeHole, DiskOperation.fork), (.writeFork, .remove), (.discardPage, .collapse),
  ])
  func crashesOfAPair(_ a: DiskOperation, _ b: DiskOperation) {
    let report = Self.runCrashes(a, b, bound: 0)
    #expect(report.failure == nil && report.crashes > 10, "\(a), \(b): \(report)")
  }

  /// Each bug is found by pairs with an operation that it breaks. An unoptimized build looks for one.
  @Test(arguments: CrashDisks.Planted.allCases)
  func aBrokenRuleOfTheEngineIsFound(_ planted: CrashDisks.Planted) {
    let pairs = Self.crashPairs.filter {
      planted.operations.contains($0) || planted.operations.contains($1)
    }
    var found: [(name: String, failure: Failure)] = []
    for (a, b) in pairs where isOptimized || found.isEmpty {
      let report = Self.runCrashes(a, b, bound: planted.bound, planted)
      if let failure = report.failure { found.append(("\(a), \(b)", failure)) }
    }
    print("crash: engine: \(planted) is found by \(found.count) of \(pairs.count) pairs:")
    for (name, failure) in found { print("crash: engine: \(planted): \(name): \(failure.message)") }
    #expect(!found.isEmpty)
    for (name, failure) in found {
      #expect([.check, .trap].contains(failure.kind), "\(planted), \(name): \(failure)")
    }
  }
}

import Interleave
import Testing

/// Small protocols on memory that survives a crash: two operations at once on a store of two disks,
/// with a crash at every step. Each rule of the store is broken once, and the checker finds it.
@Suite struct CrashTests {
  enum Operation: CaseIterable, CustomStringConvertible {
    case writeFirst, writeSecond, removeFirst, removeSecond, forkFirst, createSecond

    func run(on store: CrashStore, _ contents: UInt64) {
      switch self {
      case .writeFirst: store.write(0, contents)
      case .writeSecond: store.write(1, contents)
      case .removeFirst: store.remove(0)
      case .removeSecond: store.remove(1)
      case .forkFirst: store.fork(0, to: 1)
      case .createSecond: store.create(1, contents)
      }
    }

    var description: String {
      switch self {
      case .writeFirst: "write"
      case .writeSecond: "write of the fork"
      case .removeFirst: "remove"
      case .removeSecond: "remove of the fork"
      case .forkFirst: "fork"
      case .createSecond: "create"
      }
    }

    /// Whether the second disk is there at first.
    var needsFork: Bool { self != .forkFirst && self != .createSecond }
  }

  static func scenario(
    _ a: Operation, _ b: Operation, _ planted: CrashStore.Planted? = nil
  ) -> (Scenario) -> Void {
    { scenario in
      let store = CrashStore(planted)
      store.create(0, 1)
      if a.needsFork && b.needsFork { store.fork(0, to: 1) }
      scenario.thread("a: \(a)") { a.run(on: store, 2) }
      scenario.thread("b: \(b)") { b.run(on: store, 3) }
      scenario.afterCrash {
        store.recover()
      } check: {
        store.verify($0)
      }
    }
  }

  static let pairs = Operation.allCases.enumerated().flatMap { index, a in
    Operation.allCases[index...].map { (a, $0) }
  }

  @Test func eachAgainstEach() {
    var executions = 0, crashes = 0
    for (a, b) in Self.pairs {
      let report = Checker().run(Self.scenario(a, b))
      print("crash: \(a), \(b): \(report)")
      #expect(report.isComplete, "\(a), \(b): \(report)")
      executions += report.executions
      crashes += report.crashes
    }
    print("crash: each of 6 operations against each: \(executions) executions, \(crashes) crashes")
  }

  /// Each bug is found by some pairs. Prints the shortest trace.
  @Test(arguments: CrashStore.Planted.allCases)
  func aBrokenRuleIsFound(_ planted: CrashStore.Planted) {
    var found: [(name: String, failure: Failure)] = []
    for (a, b) in Self.pairs {
      let report = Checker().run(Self.scenario(a, b, planted))
      if let failure = report.failure { found.append(("\(a), \(b)", failure)) }
    }
    print("crash: \(planted) is found by \(found.count) of \(Self.pairs.count) pairs")
    guard let first = found.min(by: { $0.failure.trace.count < $1.failure.trace.count }) else {
      Issue.record("\(planted) is not found")
      return
    }
    print("crash: \(planted), \(first.name): \(first.failure)")
    for (name, failure) in found {
      #expect([.check, .useAfterFree].contains(failure.kind), "\(planted), \(name): \(failure)")
    }
  }
}

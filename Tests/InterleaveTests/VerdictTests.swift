import Interleave
import Testing

/// The report never claims more than what was covered.
@Suite struct VerdictTests {
  /// Two threads that increment a word, but not atomically.
  static func lostUpdate(_ scenario: Scenario) {
    let words = Words()
    for name in ["one", "two"] {
      scenario.thread(name) { words.x.store(words.x.load(.relaxed) + 1, .relaxed) }
    }
    scenario.finally { check(words.x.load(.relaxed) == 2, "lost update") }
  }

  static func threeIncrements(_ scenario: Scenario) {
    let words = Words()
    for name in ["one", "two", "three"] { scenario.thread(name) { words.x.add(1, .relaxed) } }
    scenario.finally { check(words.x.load(.relaxed) == 3) }
  }

  @Test func completeMeansAll() {
    let report = Checker().run(Self.threeIncrements)
    #expect(report.isComplete && report.failure == nil)
    #expect("\(report)".hasPrefix("complete: "))
  }

  @Test func aBoundedRunNeverReadsAsComplete() {
    for bound in 0...9 {
      let report = Checker(preemptionBound: bound).run(Self.threeIncrements)
      guard case .bounded(bound) = report.verdict else {
        Issue.record("\(report)")
        return
      }
      #expect(!report.isComplete && !"\(report)".contains("complete"))
    }
  }

  @Test func anEndedBudgetIsNoVerdict() {
    var options = Checker.Options()
    options.reduction = []
    options.maximalExecutions = 5
    let report = Checker(options).run(Self.threeIncrements)
    guard case .budgetExhausted = report.verdict else {
      Issue.record("\(report)")
      return
    }
    #expect(report.executions == 5 && !report.isComplete)
  }

  /// A relaxed load may return an old value, so this bug needs no preemption at all.
  @Test func aBoundOfZeroStillSeesOldValues() {
    let report = Checker(preemptionBound: 0).run(Self.lostUpdate)
    #expect(report.failure?.kind == .check)
  }

  @Test func theShortestTraceHasTheFewestPreemptions() throws {
    // One preemption, between load and store of a sequential counter, is necessary and sufficient.
    let report = Checker().run { scenario in
      let words = Words()
      for name in ["one", "two"] {
        scenario.thread(name) {
          for _ in 0..<2 { words.x.store(words.x.load(.sequential) + 1, .sequential) }
        }
      }
      scenario.finally { check(words.x.load(.sequential) == 4, "lost update") }
    }
    #expect(try #require(report.failure).preemptions == 1)
  }

  @Test func aTokenReplaysItsExecution() throws {
    let failure = try #require(Checker().run(Self.lostUpdate).failure)
    let token = try #require(ReplayToken("\(failure.token)"))
    #expect(token == failure.token)
    let again = try #require(Checker().replay(token, Self.lostUpdate))
    #expect(again.message == failure.message)
    #expect(again.trace == failure.trace && !again.trace.isEmpty)
    #expect(ReplayToken("no token!") == nil)
  }

  @Test func aTokenThatDoesNotFailReturnsNothing() {
    #expect(Checker().replay(ReplayToken("21")!, Self.threeIncrements) == nil)
    #expect(
      Checker().replay(ReplayToken("7")!, Self.threeIncrements)?.kind == .nondeterminism)
  }

  @Test func tracesShowThreadsLinesAndOldValues() throws {
    let report = Checker().run { scenario in
      let words = Words()
      scenario.thread("writer") {
        words.x.store(1, .relaxed)
        words.y.store(1, .relaxed)
      }
      scenario.thread("reader") {
        if words.y.load(.acquire) == 1 { check(words.x.load(.relaxed) == 1, "missed x") }
      }
    }
    let trace = try #require(report.failure).trace.joined(separator: "\n")
    #expect(trace.contains("writer") && trace.contains("VerdictTests.swift:"))
    #expect(trace.contains("x.load(relaxed) → 0  STALE: the newest is 1, stored by writer"))
    #expect(trace.contains("FAILED: missed x"))
  }
}

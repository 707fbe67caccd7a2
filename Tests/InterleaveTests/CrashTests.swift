import Interleave
import Testing

/// Crashes: what each finds, what it reports, and how a scenario may use them.
@Suite struct CrashTests {
  /// A record that is published by one store after it was filled, and maybe too weakly or early.
  static func publication(_ order: MemoryOrder = .release, isEarly: Bool = false) -> (Scenario) ->
    Void
  {
    { scenario in
      let root = surviving { ModelWord(0, name: "root") }
      let record = surviving { ModelCell(0, name: "record") }
      scenario.thread("writer") {
        if isEarly { root.store(1, order) }
        record.store(7)
        if !isEarly { root.store(1, order) }
      }
      scenario.thread("other") { _ = root.load(.acquire) }
      scenario.afterCrash {
        if root.load(.acquire) == 1 { check(record.load() == 7, "published, but not filled") }
      }
    }
  }

  // MARK: What is found

  @Test func aRecordIsPublishedAfterItWasFilled() {
    let report = Checker().run(Self.publication())
    #expect(report.isComplete && report.crashes == 3, "\(report)")
    #expect("\(report)".contains(", 3 crashes, "))
  }

  @Test func aRecordPublishedBeforeItIsFilledIsFound() {
    #expect(Checker().run(Self.publication(isEarly: true)).failure?.kind == .check)
  }

  /// A compiler may move the write behind the store, so a crash between them loses it.
  @Test func aRecordPublishedWithoutAReleaseIsFound() throws {
    let failure = try #require(Checker().run(Self.publication(.relaxed)).failure)
    #expect(failure.kind == .check)
    #expect(
      failure.trace.contains {
        $0.contains("record still holds 0: the write of 7 by writer at CrashTests.swift:")
      })
  }

  /// The two stores commute, so a reduction could leave out one order of them. A crash between them
  /// sees the order.
  @Test(arguments: [0, 1])
  func aCrashSeesTheOrderOfIndependentStores(_ first: Int) {
    let report = Checker().run { scenario in
      let x = surviving { ModelWord(0) }, y = surviving { ModelWord(0) }
      scenario.thread("x") { x.store(1, .relaxed) }
      scenario.thread("y") { y.store(1, .relaxed) }
      scenario.afterCrash {
        let left = (x.load(.relaxed), y.load(.relaxed))
        check(left != (first == 0 ? (1, 0) : (0, 1)))
      }
    }
    #expect(report.failure?.kind == .check)
  }

  /// Only one thread uses the words, so they are quiet, and without crashes one execution is enough.
  @Test func aCrashStopsBetweenQuietStores() {
    var left: Set<UInt64> = []
    let report = Checker().run { scenario in
      let words = surviving { Words() }
      scenario.thread("one") {
        for value: UInt64 in 1...3 {
          words.x.store(value, .relaxed)
          words.y.store(value, .relaxed)
        }
      }
      scenario.afterCrash { left.insert(words.x.load(.relaxed) << 4 | words.y.load(.relaxed)) }
    }
    #expect(report.isComplete && left == [0x00, 0x10, 0x11, 0x21, 0x22, 0x32, 0x33])
  }

  /// Recovery may be killed too. It repairs in an order that does not survive that.
  @Test(arguments: [false, true])
  func recoveryIsKilledAsWell(_ isCareless: Bool) throws {
    let scenario: (Scenario) -> Void = { scenario in
      let isDirty = surviving { ModelWord(0, name: "dirty") }
      let words = surviving { Words() }
      scenario.thread("writer") {
        isDirty.store(1, .release)
        words.x.store(1, .release)
        words.y.store(1, .release)
        isDirty.store(0, .release)
      }
      scenario.afterCrash {
        guard isDirty.load(.acquire) == 1 else { return }
        if isCareless { isDirty.store(0, .release) }
        words.x.store(0, .release)
        words.y.store(0, .release)
        if !isCareless { isDirty.store(0, .release) }
      } check: {
        check(words.x.load(.acquire) == words.y.load(.acquire), "half of a change")
      }
    }
    let report = Checker().run(scenario)
    guard isCareless else {
      #expect(report.isComplete, "\(report)")
      return
    }
    let failure = try #require(report.failure)
    #expect(failure.trace.contains { $0.hasPrefix("KILLED: recovery stops") })
    let again = try #require(Checker().replay(failure.token, scenario))
    #expect(again.message == failure.message && again.trace == failure.trace)
  }

  // MARK: Heaps

  /// Recovery takes the frame that the root names. A thread must not free it before the root is
  /// cleared, since another may take it and fill it meanwhile.
  @Test(arguments: [false, true])
  func aFrameIsFreedAfterItsNameIsGone(_ isEarly: Bool) {
    let report = Checker().run { scenario in
      let root = surviving { ModelWord(0, name: "root") }
      let heap = surviving { ModelHeap(capacity: 1) }
      let frame = heap.allocate()!
      heap.store(frame, 7)
      root.store(1, .release)
      scenario.thread("remover") {
        if isEarly { heap.free(frame) }
        root.store(0, .release)
        if !isEarly { heap.free(frame) }
      }
      scenario.thread("other") { if let frame = heap.allocate() { heap.store(frame, 9) } }
      scenario.afterCrash {
        guard root.load(.acquire) == 1 else { return }
        check(heap.claim(1) && heap.load(1) == 7, "another's")
        check(heap.allocate() == nil, "the frame is taken")
      }
    }
    if isEarly {
      #expect(report.failure?.kind == .check, "\(report)")
    } else {
      #expect(report.isComplete, "\(report)")
    }
  }

  @Test func aFrameThatWasNotClaimedIsFree() {
    let report = Checker().run { scenario in
      let heap = surviving { ModelHeap(capacity: 1) }
      scenario.thread("one") { if let frame = heap.allocate() { heap.store(frame, 7) } }
      scenario.afterCrash { _ = heap.load(1) }
    }
    #expect(report.failure?.kind == .useAfterFree)
    #expect(report.failure?.message.contains("free until recovery claims it") == true)
  }

  /// Nobody else notices the store, but who takes the lock after it does.
  @Test func aStoreIsNotTakenBackFromUnderThoseWhoSawIt() {
    let report = Checker().run { scenario in
      let x = surviving { ModelWord(0) }, y = surviving { ModelWord(0) }
      let lock = Locked()
      scenario.thread("one") { lock.with { x.store(1, .relaxed) } }
      scenario.thread("two") { lock.with { y.store(x.load(.relaxed), .relaxed) } }
      scenario.afterCrash { check(x.load(.relaxed) >= y.load(.relaxed)) }
    }
    #expect(report.isComplete && report.crashes == 3, "\(report)")
  }

  /// When the third thread has stored 3, nothing but its log tells which of the others stored last. A
  /// crash that takes the 3 back shows it, together with what the second thread did since.
  @Test func theLogIsAPartOfTheState() {
    let report = Checker().run { scenario in
      let x = surviving { ModelWord(0) }, y = surviving { ModelWord(0) }
      let one = ModelWord(0), two = ModelWord(0), three = ModelWord(0)
      let lock = Locked()
      scenario.thread("one") {
        lock.with { x.store(1, .relaxed) }
        one.store(1, .release)
      }
      scenario.thread("two") {
        lock.with { x.store(2, .relaxed) }
        two.store(1, .release)
        while three.load(.acquire) == 0 { pause() }
        y.store(1, .relaxed)
      }
      scenario.thread("three") {
        while one.load(.acquire) == 0 { pause() }
        while two.load(.acquire) == 0 { pause() }
        lock.with {
          three.store(1, .release)
          x.store(3, .relaxed)
        }
      }
      scenario.afterCrash { check(y.load(.relaxed) == 0 || x.load(.relaxed) != 0) }
    }
    // With y = 0, x is 0, 1, 2 or 3; with y = 1 it is 1, 2 or 3.
    #expect(report.isComplete && report.crashes == 7, "\(report)")
  }

  private final class Locked: Sendable {
    let lock = ModelLock()
    func with(_ body: () -> Void) {
      lock.lock()
      body()
      lock.unlock()
    }
  }

  // MARK: Reports

  @Test func aTraceSaysWhereTheThreadsStopped() throws {
    let failure = try #require(Checker().run(Self.publication(isEarly: true)).failure)
    let trace = failure.trace.joined(separator: "\n")
    #expect(trace.contains("root.store(1, release)\nCRASH: all threads stop for ever\n"))
    #expect(trace.contains("  writer stops before a write to record, CrashTests.swift:"))
    #expect(trace.contains("  other "))
    #expect(trace.contains("recovery     CrashTests.swift:"))
    #expect(trace.hasSuffix("FAILED: \(failure.message)"))
  }

  @Test func aTokenReplaysItsCrash() throws {
    for scenario in [Self.publication(.relaxed), Self.publication(isEarly: true)] {
      let failure = try #require(Checker().run(scenario).failure)
      let token = try #require(ReplayToken("\(failure.token)"))
      let again = try #require(Checker().replay(token, scenario))
      #expect(again.message == failure.message && again.trace == failure.trace)
      #expect(Checker().replay(token, Self.publication()) == nil, "it crashes, and nothing fails")
    }
  }

  @Test func theShortestTraceHasTheFewestPreemptions() throws {
    let report = Checker().run { scenario in
      let words = surviving { Words() }
      for name in ["one", "two"] {
        scenario.thread(name) {
          words.x.add(1, .relaxed)
          words.y.add(1, .relaxed)
        }
      }
      scenario.afterCrash { check(words.x.load(.relaxed) < words.y.load(.relaxed) + 1) }
    }
    #expect(try #require(report.failure).preemptions == 0)
  }

  @Test func aBoundedRunNeverReadsAsComplete() {
    let report = Checker(preemptionBound: 1).run(Self.publication())
    guard case .bounded(1) = report.verdict else {
      Issue.record("\(report)")
      return
    }
    #expect(!report.isComplete)
  }

  /// What the threads do when nothing crashes is checked too.
  @Test func executionsThatEndAreChecked() {
    let report = Checker().run { scenario in
      Self.publication()(scenario)
      scenario.finally { check(false, "the end") }
    }
    #expect(report.failure?.message.hasPrefix("the end") == true)
  }

  @Test(arguments: [false, true])
  func recoveryEnds(_ isWaiting: Bool) {
    let report = Checker().run { scenario in
      let word = surviving { ModelWord(0) }
      scenario.thread("one") { word.store(1, .release) }
      scenario.afterCrash {
        while word.load(.acquire) != 2 { if isWaiting { pause() } }
      }
    }
    #expect(report.failure?.kind == (isWaiting ? .livelock : .stepLimit))
  }

  @Test func aTrapOfRecoveryIsAFailureWithATrace() throws {
    let report = Checker().run { scenario in
      let word = surviving { ModelWord(0) }
      scenario.thread("one") { word.store(1, .release) }
      scenario.afterCrash {
        precondition(word.load(.acquire) == 0, "expected by the test aTrapOfRecoveryIsAFailure")
      }
    }
    let failure = try #require(report.failure)
    #expect(failure.kind == .trap && failure.trace.contains { $0.hasPrefix("CRASH") })
  }
}

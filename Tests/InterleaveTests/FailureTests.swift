import Interleave
import Testing

/// Each kind of failure is found, and what only looks like one is not reported.
@Suite struct FailureTests {
  private func kind(_ scenario: (Scenario) -> Void) -> Failure.Kind? {
    let report = Checker().run(scenario)
    if report.failure == nil { #expect(report.isComplete) }
    return report.failure?.kind
  }

  // MARK: Races

  private func publication(_ store: MemoryOrder, _ load: MemoryOrder) -> (Scenario) -> Void {
    { scenario in
      let flag = Words(), data = ModelCell(0, name: "data")
      scenario.thread("writer") {
        data.store(7)
        flag.x.store(1, store)
      }
      scenario.thread("reader") {
        if flag.x.load(load) == 1 { check(data.load() == 7) }
      }
    }
  }

  @Test func publicationNeedsBothOrders() {
    #expect(kind(publication(.release, .acquire)) == nil)
    #expect(kind(publication(.relaxed, .acquire)) == .dataRace)
    #expect(kind(publication(.release, .relaxed)) == .dataRace)
  }

  @Test func aRaceShowsBothSides() throws {
    let failure = try #require(Checker().run(publication(.relaxed, .acquire)).failure)
    #expect(failure.message.contains("data race on data: read by reader at FailureTests.swift:"))
    #expect(failure.message.contains("the write by writer at FailureTests.swift:"))
  }

  @Test func readsDoNotRace() {
    let result = kind { scenario in
      let data = ModelCell(3)
      for name in ["one", "two"] { scenario.thread(name) { check(data.load() == 3) } }
    }
    #expect(result == nil)
  }

  @Test func aWriteAfterAnUnorderedReadRaces() {
    let result = kind { scenario in
      let data = ModelCell(3), flag = Words()
      scenario.thread("reader") {
        _ = data.load()
        flag.x.store(1, .relaxed)
      }
      scenario.thread("writer") {
        if flag.x.load(.acquire) == 1 { data.store(4) }
      }
    }
    #expect(result == .dataRace)
  }

  // MARK: Frames

  @Test func anUnorderedFreeIsARace() {
    let result = kind { scenario in
      let heap = ModelHeap(capacity: 1), words = Words()
      let frame = heap.allocate()!
      scenario.thread("reader") {
        _ = heap.load(frame)
        words.x.store(1, .relaxed)
      }
      scenario.thread("owner") { if words.x.load(.relaxed) == 1 { heap.free(frame) } }
    }
    #expect(result == .dataRace)
  }

  @Test func useAfterFreeAndDoubleFree() {
    for isSecondFree in [false, true] {
      let result = kind { scenario in
        let heap = ModelHeap(capacity: 1)
        scenario.thread("one") {
          guard let frame = heap.allocate() else { return }
          heap.free(frame)
          if isSecondFree { heap.free(frame) } else { _ = heap.load(frame) }
        }
      }
      #expect(result == .useAfterFree)
    }
  }

  @Test func framesPassFromThreadToThread() {
    let result = kind { scenario in
      let heap = ModelHeap(capacity: 1)
      for name in ["one", "two", "three"] {
        scenario.thread(name) {
          guard let frame = heap.allocate() else { return }
          check(heap.load(frame) == 0, "an old value in a new frame")
          heap.store(frame, 9)
          heap.free(frame)
        }
      }
      scenario.finally { check(heap.liveCount == 0) }
    }
    #expect(result == nil)
  }

  // MARK: Loops

  @Test func aFairSpinEnds() {
    let result = kind { scenario in
      let words = Words()
      scenario.thread("setter") { words.x.store(1, .release) }
      for name in ["waiter", "other"] {
        scenario.thread(name) { while words.x.load(.acquire) == 0 { pause() } }
      }
    }
    #expect(result == nil)
  }

  @Test func aSpinThatNobodyEndsIsALivelock() throws {
    let report = Checker().run { scenario in
      let words = Words()
      scenario.thread("setter") { words.x.store(1, .release) }
      scenario.thread("waiter") { while words.x.load(.acquire) != 2 { pause() } }
    }
    #expect(report.failure?.kind == .livelock)
    #expect(try #require(report.failure).message.contains("waiter"))
  }

  /// The explored turns include the one in which x is new and y is still old.
  @Test func aTurnMaySeeOneOfTwoNews() {
    var mixed = false
    let report = Checker().run { scenario in
      let words = Words()
      scenario.thread("writer") {
        words.y.store(1, .relaxed)
        words.x.store(1, .relaxed)
      }
      scenario.thread("waiter") {
        var turns = 0
        while true {
          let x = words.x.load(.relaxed), y = words.y.load(.relaxed)
          if x == 1 && y == 0 && turns > 0 { mixed = true }
          if x == 1 && y == 1 { return }
          turns += 1
          pause()
        }
      }
    }
    #expect(report.isComplete && mixed)
  }

  @Test func aLoopWithoutPauseHitsTheLimit() {
    let result = kind { scenario in
      let words = Words()
      scenario.thread("waiter") { while words.x.load(.acquire) == 0 {} }
    }
    #expect(result == .stepLimit)
  }

  // MARK: The world outside

  @Test func aTrapIsAFailureWithATrace() throws {
    let report = Checker().run { scenario in
      let words = Words()
      for name in ["one", "two"] {
        scenario.thread(name) {
          precondition(words.x.add(1, .relaxed) == 0, "expected by the test aTrapIsAFailure")
        }
      }
    }
    let failure = try #require(report.failure)
    #expect(failure.kind == .trap && failure.trace.count == 3)
  }

  /// An object that only a thread's closure holds and whose deinitializer is a step, such as a
  /// space.
  @Test(arguments: [false, true])
  func anObjectOfAThreadEndsWithTheExecution(failing: Bool) {
    final class Held: @unchecked Sendable {
      let words: Words
      init(_ words: Words) { self.words = words }
      deinit { words.x.store(0, .relaxed) }
    }
    let result = kind { scenario in
      let held = Held(Words())
      for value: UInt64 in [1, 2] {
        scenario.thread("\(value)") {
          held.words.x.store(value, .relaxed)
          check(!failing || held.words.x.load(.relaxed) == value)
        }
      }
    }
    #expect(result == (failing ? .check : nil))
  }

  @Test func aScenarioThatVariesIsFound() {
    var runs: UInt64 = 0
    let result = kind { scenario in
      runs += 1
      let words = Words(), value = runs
      for name in ["one", "two"] { scenario.thread(name) { words.x.store(value, .relaxed) } }
    }
    #expect(result == .nondeterminism)
  }

  @Test func threadsThatShareAVariableAreFound() {
    let result = kind { scenario in
      let words = Words(), shared = Registers()
      for name in ["one", "two"] {
        scenario.thread(name) {
          _ = words.x.load(.relaxed)
          shared[0] += 1
          words.y.store(shared[0], .relaxed)
          _ = words.x.load(.relaxed)
        }
      }
    }
    #expect(result == .nondeterminism)
  }

  @Test func aWordOfAnotherExecutionIsFound() {
    var kept: Words?
    let result = kind { scenario in
      let words = kept ?? Words()
      kept = words
      for name in ["one", "two"] { scenario.thread(name) { words.x.add(1, .relaxed) } }
    }
    #expect(result == .nondeterminism)
  }

  /// Only the set-up may add to the model. Otherwise the set of words would depend on the schedule.
  /// A thread that tries it traps, and this is found like any other trap.
  @Test(arguments: ["word", "cell", "heap", "thread"])
  func aThreadThatAddsToTheModelIsFound(_ what: String) throws {
    let report = Checker().run { scenario in
      let words = Words()
      scenario.thread("one") {
        guard words.x.load(.acquire) == 1 else { return }
        switch what {
        case "word": _ = ModelWord(0)
        case "cell": _ = ModelCell(0)
        case "heap": _ = ModelHeap(capacity: 1)
        default: scenario.thread("another") {}
        }
      }
      scenario.thread("two") { words.x.store(1, .release) }
    }
    let failure = try #require(report.failure)
    #expect(failure.kind == .trap)
    #expect(failure.trace.contains { $0.contains("x.load(acquire) → 1") })
  }
}

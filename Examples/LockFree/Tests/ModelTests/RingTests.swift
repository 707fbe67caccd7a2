import Interleave
import LockFreeModel
import Testing

/// The ring in every schedule and memory order of two threads.
@Suite struct RingTests {
  /// Three elements go through a ring of two, so it is full at times, and a slot is used again.
  static func threeElements(_ scenario: Scenario) {
    let ring = Ring<Int>(capacity: 2), received = Received()
    scenario.thread("producer") {
      for value in 1...3 where !ring.push(value) { return }
    }
    scenario.thread("consumer") {
      for _ in 1...3 { if let value = ring.pop() { received.values.append(value) } }
    }
    scenario.finally {
      while let value = ring.pop() { received.values.append(value) }
      check(received.values == Array((1...3).prefix(received.values.count)), "order")
      check(received.values.count >= 2, "lost elements")
    }
  }

  @Test func nothingFailsInAnyExecution() {
    let report = Checker().run(Self.threeElements)
    print("ring:", report)
    #expect(report.isComplete, "\(report)")
  }

  /// Plants a bug at each ordering: the checker makes it weaker, and the scenario must notice.
  @Test func everyWeakerOrderingIsFound() {
    let results = Checker().weaken(files: ["Ring.swift"], Self.threeElements)
    #expect(results.count == 4)
    for (weakening, report) in results {
      #expect(report.failure?.kind == .dataRace, "\(weakening)")
      if let failure = report.failure { print("planted \(weakening)\n\(failure)") }
    }
  }
}

/// What one thread has received, for the final check.
private final class Received { var values: [Int] = [] }

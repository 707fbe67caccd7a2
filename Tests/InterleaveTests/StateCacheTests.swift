import Testing

@testable import Interleave

/// The cache by itself. In a scenario whose states never come back, it makes no difference that the
/// cache knows which threads sleep: each step that sleeps was fully explored before, so a known
/// state has nothing new (by induction over the order in which explorations end). In loops that
/// `forget`, states may come back, and then it matters (Godefroid 1996, chapter 5).
@Suite struct StateCacheTests {
  private let one = ThreadSet(1), two = ThreadSet(2)

  @Test func aKnownStateIsCoveredIfAllThatSleptSleepAgain() {
    var cache = StateCache()
    guard case .new = cache.visit(7, asleep: one, next: 0) else { return unexpected() }
    guard case .covered = cache.visit(7, asleep: one, next: 0) else { return unexpected() }
    guard case .covered = cache.visit(7, asleep: one.union(two), next: 0) else {
      return unexpected()
    }
    guard case .new = cache.visit(8, asleep: one, next: 0) else { return unexpected() }
    #expect(cache.count == 2)
  }

  /// Two views that differ in one lane are two states. A hash that leaves a lane out makes the search
  /// take one for the other, and a verdict then says more than was explored.
  @Test func everyLaneOfAViewIsInItsHash() {
    var hashes: Set<UInt64> = [View().hash]
    for location in 0..<View.locations {
      var view = View()
      view[lane: location] = 1
      #expect(hashes.insert(view.hash).inserted, "location \(location)")
    }
    for thread in 0..<View.threads {
      var view = View()
      view[clock: thread] = 1
      #expect(hashes.insert(view.hash).inserted, "thread \(thread)")
    }
  }

  @Test func aKnownStateIsExploredAgainFromThoseThatWoke() {
    var cache = StateCache()
    _ = cache.visit(7, asleep: one.union(two), next: 0)
    guard case .partly(let asleep, let woken) = cache.visit(7, asleep: two, next: 0) else {
      return unexpected()
    }
    #expect(asleep == two && woken == one)
    // Thread 1's step has been explored now.
    guard case .covered = cache.visit(7, asleep: two, next: 0) else { return unexpected() }
    guard case .partly(let none, let other) = cache.visit(7, asleep: one, next: 0) else {
      return unexpected()
    }
    #expect(none.isEmpty && other == two)
    guard case .covered = cache.visit(7, asleep: ThreadSet(), next: 0) else {
      return unexpected()
    }
  }

  @Test func aStateThatGoesOnOtherwiseIsAContradiction() {
    var cache = StateCache()
    _ = cache.visit(7, asleep: one, next: 1)
    guard case .contradiction = cache.visit(7, asleep: one, next: 2) else { return unexpected() }
  }

  @Test func nothingIsForgottenWhenTheCacheGrows() {
    var cache = StateCache()
    for state in 1...5_000 { _ = cache.visit(UInt64(state) << 10, asleep: one, next: 0) }
    for state in 1...5_000 {
      guard case .covered = cache.visit(UInt64(state) << 10, asleep: one, next: 0) else {
        return unexpected()
      }
    }
    #expect(cache.count == 5_000)
  }

  /// A thread that has read 1 must not have the same history as one that has reached position 1.
  @Test func aPositionIsNoValueThatWasRead() {
    let report = Checker().run { scenario in
      let word = ModelWord(1)
      scenario.thread("reader") {
        _ = word.load(.relaxed)
        _ = word.load(.relaxed)
        forget(1)
        word.store(2, .relaxed)
      }
      scenario.thread("other") { _ = word.load(.relaxed) }
    }
    #expect(report.isComplete, "\(report)")
  }

  private func unexpected(_ location: SourceLocation = #_sourceLocation) {
    Issue.record("another answer of the cache", sourceLocation: location)
  }
}

import Foundation
import Glibc
import Synchronization
import Testing

@testable import HugeMemory

/// Records what it is asked for.
final class FakeShrinker: Shrinker {
  let name = "fake"
  let seeks: Int
  let batch: Int
  let objects: Atomic<Int>
  let targets = Mutex<[Int]>([])
  private let answer: @Sendable (Int) -> Int?

  init(
    objects: Int, seeks: Int = 2, batch: Int = 1,
    answer: @escaping @Sendable (Int) -> Int? = { _ in 0 }
  ) {
    self.objects = Atomic(objects)
    self.seeks = seeks
    self.batch = batch
    self.answer = answer
  }

  func count() -> Int { objects.load(ordering: .relaxed) }
  func scan(_ target: Int) -> Int? {
    targets.withLock { $0.append(target) }
    return answer(target)
  }

  var asked: [Int] { targets.withLock { $0 } }
  /// What it was asked for since the last call.
  func takeSum() -> Int {
    targets.withLock { targets in
      defer { targets = [] }
      return targets.reduce(0, +)
    }
  }
}

@Suite struct ShrinkerRegistryTests {
  @Test(arguments: [1, 2, 4, 8, 100], [0, 3, 7, 12])
  func aShareFollowsSizeSeeksAndPriority(_ seeks: Int, _ priority: Int) {
    for objects in [0, 1, 5000, 100_000] {
      let registry = ShrinkerRegistry()
      let fake = FakeShrinker(objects: objects, seeks: seeks)
      registry.register(fake)
      let round = registry.shrink(priority: priority)
      let least = priority == 0 ? objects : 0
      let share = min(max((objects >> priority) * 4 / seeks, least), 2 * objects)
      #expect(fake.takeSum() == share && round.scanned == share && round.freed == 0)
    }
  }

  @Test func whatCostsNothingGivesHalfAtTheFirstNeed() {
    for priority in [1, 12] {
      let registry = ShrinkerRegistry()
      let fake = FakeShrinker(objects: 1000, seeks: 0)
      registry.register(fake)
      registry.shrink(priority: priority)
      #expect(fake.takeSum() == 500)
    }
  }

  @Test func aShareComesInBatches() {
    let registry = ShrinkerRegistry()
    let fake = FakeShrinker(objects: 1000, batch: 300) { $0 / 2 }
    registry.register(fake)
    // (1000 >> 1) × 2 is three batches and a rest, which is deferred.
    #expect(registry.shrink(priority: 1) == .init(scanned: 900, freed: 450))
    #expect(fake.asked == [300, 300, 300])
    // Half of the rest is due in addition to the share: three batches again.
    registry.shrink(priority: 1)
    #expect(fake.asked.count == 6)
  }

  @Test func sharesTooSmallForABatchAreAskedInTheEnd() {
    let registry = ShrinkerRegistry()
    let fake = FakeShrinker(objects: 200, batch: 128)
    registry.register(fake)
    // A share of 100 is less than a batch. First 100 are deferred, then 200; a quarter of those and
    // the share make a batch.
    registry.shrink(priority: 2)
    registry.shrink(priority: 2)
    #expect(fake.asked == [])
    registry.shrink(priority: 2)
    #expect(fake.asked == [128])
  }

  /// With half of the objects as its share, which is less than a batch, it would never have been
  /// asked.
  @Test func atTheMostUrgentPriorityAllAreAsked() {
    let registry = ShrinkerRegistry()
    let fake = FakeShrinker(objects: 512, seeks: 8, batch: 2048)
    registry.register(fake)
    registry.shrink(priority: 0)
    #expect(fake.asked == [512])
  }

  @Test func aShrinkerWithNothingMoreIsNotAskedAgainInThisRound() {
    let registry = ShrinkerRegistry()
    let first = FakeShrinker(objects: 1000, batch: 10) { _ in nil }
    let second = FakeShrinker(objects: 10, batch: 10) { $0 }
    registry.register(first)
    registry.register(second)
    let round = registry.shrink(priority: 0)
    #expect(first.asked == [10])
    #expect(round == .init(scanned: 20, freed: 20))
    let statistics = registry.statistics
    #expect(statistics.map(\.scanned) == [0, 20] && statistics.map(\.freed) == [0, 20])
  }

  @Test func aRoundEndsWhenThereIsEnough() {
    let registry = ShrinkerRegistry()
    let first = FakeShrinker(objects: 1000, batch: 10) { $0 }
    let second = FakeShrinker(objects: 1000)
    registry.register(first)
    registry.register(second)
    registry.shrink(priority: 0) { first.asked.count == 3 }
    #expect(first.asked == [10, 10, 10] && second.asked == [])
  }

  /// The first scan runs until the thread that unregisters the shrinker sleeps, or has returned,
  /// which would be wrong.
  @Test func unregisteringEndsTheQuestionsAndWaitsForTheLast() {
    let registry = ShrinkerRegistry()
    let isIn = Atomic(false)
    let hasReturned = Atomic(false)
    let waiter = Mutex<String?>(nil)
    let fake = FakeShrinker(objects: 100_000, batch: 1) { _ in
      isIn.store(true, ordering: .releasing)
      while !hasReturned.load(ordering: .acquiring) {
        if let thread = waiter.withLock({ $0 }), isAsleep(thread) { break }
        sched_yield()
      }
      let returned = hasReturned.load(ordering: .acquiring)
      if returned { Issue.record("it was unregistered while it was asked, or before") }
      return 1
    }
    let token = registry.register(fake)
    let scanning = startThread { registry.shrink(priority: 0) }
    while !isIn.load(ordering: .acquiring) { sched_yield() }
    let unregistering = startThread {
      let thread = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/thread-self")
      waiter.withLock { $0 = thread ?? "self" }
      registry.unregister(token)
      hasReturned.store(true, ordering: .releasing)
    }
    unregistering.join()
    scanning.join()
    let asked = fake.asked.count
    registry.shrink(priority: 0)
    #expect(fake.asked.count == asked && registry.statistics == [])
  }
}

/// Whether a thread sleeps, for example on a lock, by `/proc`.
private func isAsleep(_ thread: String) -> Bool {
  let status = try? String(contentsOfFile: "/proc/\(thread)/stat", encoding: .utf8)
  return status?.split(separator: ")").last?.hasPrefix(" S") ?? false
}

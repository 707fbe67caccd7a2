import Interleave
import InterleaveSynchronization
import ModelSynchronization
import RealSynchronization
import Testing

/// The atomics of `InterleaveSynchronization`: what each operation returns, what each ordering
/// orders, and what happens where they do not exist.
@Suite struct StandInTests {
  private func kind(_ scenario: (Scenario) -> Void) -> Failure.Kind? {
    let report = Checker().run(scenario)
    if report.failure == nil { #expect(report.isComplete) }
    return report.failure?.kind
  }

  /// One source, compiled against both modules, does the same.
  @Test func everyOperationReturnsWhatTheOriginalReturns() throws {
    var real = RealSynchronization.Transcript()
    real.recordAll()
    #expect(real.lines.count > 100)
    let report = Checker().run { _ in
      var model = ModelSynchronization.Transcript()
      model.recordAll()
      for (line, expected) in zip(model.lines, real.lines) { check(line == expected, line) }
      check(model.lines.count == real.lines.count)
    }
    #expect(report.isComplete, "\(report)")
  }

  // MARK: Orderings

  static let updates: [AtomicUpdateOrdering] = [
    .relaxed, .acquiring, .releasing, .acquiringAndReleasing, .sequentiallyConsistent,
  ]
  private static let acquiring: Set<AtomicUpdateOrdering> = [
    .acquiring, .acquiringAndReleasing, .sequentiallyConsistent,
  ]
  private static let releasing: Set<AtomicUpdateOrdering> = [
    .releasing, .acquiringAndReleasing, .sequentiallyConsistent,
  ]

  /// Publishes data by `publish`. The reader looks whether `see` returns true.
  private func publication(
    _ publish: @escaping (borrowing Atomic<Int>) -> Void,
    _ see: @escaping (borrowing Atomic<Int>) -> Bool
  ) -> Failure.Kind? {
    kind { scenario in
      let data = PlainArray(repeating: 0, count: 1), flag = Box(0)
      scenario.thread("writer") {
        data[0] = 7
        publish(flag.atomic)
      }
      scenario.thread("reader") { if see(flag.atomic) { check(data[0] == 7) } }
    }
  }

  @Test func loadsAndStoresOrderAsTheySay() {
    for store: AtomicStoreOrdering in [.relaxed, .releasing, .sequentiallyConsistent] {
      for load: AtomicLoadOrdering in [.relaxed, .acquiring, .sequentiallyConsistent] {
        let found = publication({ $0.store(1, ordering: store) }, { $0.load(ordering: load) == 1 })
        let isOrdered = store != .relaxed && load != .relaxed
        #expect(found == (isOrdered ? nil : .dataRace), "\(store), \(load)")
      }
    }
  }

  @Test(arguments: updates) func updatesOrderAsTheySay(_ order: AtomicUpdateOrdering) {
    let publishers: [(borrowing Atomic<Int>) -> Void] = [
      { _ = $0.exchange(1, ordering: order) }, { $0.wrappingAdd(1, ordering: order) },
      { $0.add(1, ordering: order) }, { $0.bitwiseOr(1, ordering: order) },
      { $0.max(1, ordering: order) },
      { _ = $0.compareExchange(expected: 0, desired: 1, ordering: order) },
      { _ = $0.weakCompareExchange(expected: 0, desired: 1, ordering: order) },
      {
        atomicMemoryFence(ordering: order)
        $0.store(1, ordering: .relaxed)
      },
    ]
    for publish in publishers {
      let found = publication(publish) { $0.load(ordering: .acquiring) == 1 }
      #expect(found == (Self.releasing.contains(order) ? nil : .dataRace))
    }
    let readers: [(borrowing Atomic<Int>) -> Bool] = [
      { $0.exchange(2, ordering: order) == 1 },
      { $0.wrappingSubtract(1, ordering: order).oldValue == 1 },
      { $0.subtract(1, ordering: order).oldValue == 1 },
      { $0.bitwiseAnd(2, ordering: order).oldValue == 1 },
      { $0.bitwiseXor(2, ordering: order).oldValue == 1 },
      { $0.min(2, ordering: order).oldValue == 1 },
      { $0.compareExchange(expected: 1, desired: 2, ordering: order).exchanged },
      { $0.weakCompareExchange(expected: 1, desired: 2, ordering: order).exchanged },
      // Failures.
      { $0.compareExchange(expected: 5, desired: 2, ordering: order).original == 1 },
      { $0.weakCompareExchange(expected: 5, desired: 2, ordering: order).original == 1 },
      {
        let value = $0.load(ordering: .relaxed)
        atomicMemoryFence(ordering: order)
        return value == 1
      },
    ]
    for see in readers {
      let found = publication({ $0.store(1, ordering: .releasing) }, see)
      #expect(found == (Self.acquiring.contains(order) ? nil : .dataRace))
    }
  }

  @Test(arguments: [false, true]) func aSwapWithTwoOrderingsOrdersEachCase(_ isWeak: Bool) {
    func swap(
      _ atomic: borrowing Atomic<Int>, _ expected: Int, _ success: AtomicUpdateOrdering,
      _ failure: AtomicLoadOrdering
    ) -> (exchanged: Bool, original: Int) {
      isWeak
        ? atomic.weakCompareExchange(
          expected: expected, desired: 2, successOrdering: success, failureOrdering: failure)
        : atomic.compareExchange(
          expected: expected, desired: 2, successOrdering: success, failureOrdering: failure)
    }
    for success in Self.updates {
      for failure: AtomicLoadOrdering in [.relaxed, .acquiring, .sequentiallyConsistent] {
        let done = publication({ $0.store(1, ordering: .releasing) }) {
          swap($0, 1, success, failure).exchanged
        }
        #expect(done == (Self.acquiring.contains(success) ? nil : .dataRace))
        let failed = publication({ $0.store(1, ordering: .releasing) }) {
          swap($0, 5, success, failure).original == 1
        }
        #expect(failed == (failure == .relaxed ? .dataRace : nil))
      }
    }
  }

  /// Store buffering: only sequential consistency forbids that both read 0.
  @Test func sequentialConsistencyIsMoreThanAcquireAndRelease() {
    func bothZero(_ store: AtomicStoreOrdering, _ load: AtomicLoadOrdering, fence: Bool) -> Bool {
      kind { scenario in
        let x = Box(0), y = Box(0), results = Registers()
        for (index, (own, other)) in [(x, y), (y, x)].enumerated() {
          scenario.thread("\(index)") {
            own.atomic.store(1, ordering: store)
            if fence { atomicMemoryFence(ordering: .sequentiallyConsistent) }
            results[index] = UInt64(other.atomic.load(ordering: load))
          }
        }
        scenario.finally { check(results[0] + results[1] > 0) }
      } == .check
    }
    #expect(bothZero(.releasing, .acquiring, fence: false))
    #expect(!bothZero(.sequentiallyConsistent, .sequentiallyConsistent, fence: false))
    #expect(!bothZero(.relaxed, .relaxed, fence: true))
  }

  // MARK: Weak swaps and overflows

  @Test func aWeakSwapMayFailSpuriouslyButALoopEnds() {
    var attempts: Set<Int> = []
    let report = Checker().run { scenario in
      let box = Box(0)
      scenario.thread("alone") {
        var count = 1
        while !box.atomic.weakCompareExchange(expected: 0, desired: 1, ordering: .relaxed).exchanged
        {
          count += 1
        }
        attempts.insert(count)
      }
    }
    #expect(report.isComplete && attempts == [1, 2])
  }

  @Test func aSpuriousFailureOfCodeThatDoesNotTryAgainIsFound() throws {
    let scenario: (Scenario) -> Void = { scenario in
      let box = Box(0)
      scenario.thread("alone") {
        check(box.atomic.weakCompareExchange(expected: 0, desired: 1, ordering: .relaxed).exchanged)
      }
    }
    let failure = try #require(Checker().run(scenario).failure)
    #expect(failure.trace.contains { $0.contains("failed spuriously, found 0") })
    #expect(Checker().replay(failure.token, scenario)?.message == failure.message)
  }

  @Test func anOverflowIsAFailureThatShowsTheValue() throws {
    let report = Checker().run { scenario in
      let counter = Box(UInt8(255))
      scenario.thread("one") { counter.atomic.add(1, ordering: .relaxed) }
    }
    let failure = try #require(report.failure)
    #expect(failure.kind == .trap && failure.message.hasPrefix("add overflows, found 255"))
  }

  /// `subtract` begins with a relaxed load, so it traps on a value that is not the newest.
  @Test func anOverflowOfAnOldValueIsFound() throws {
    let report = Checker().run { scenario in
      let counter = Box(0 as UInt), flag = Box(0)
      scenario.thread("up") {
        counter.atomic.add(1, ordering: .relaxed)
        flag.atomic.store(1, ordering: .relaxed)
      }
      scenario.thread("down") {
        if flag.atomic.load(ordering: .acquiring) == 1 {
          counter.atomic.subtract(1, ordering: .relaxed)
        }
      }
    }
    #expect(try #require(report.failure).message.contains("STALE: the newest is 1"))
  }

  // MARK: Traces, and uses outside

  @Test func aTraceShowsTypesValuesAndLines() throws {
    let report = Checker().run { scenario in
      let light = Box(Light.red), pair = Box(WordPair(first: 1, second: 2))
      let pointer = Box<ObjectIdentifier?>(nil), account = Account("one")
      scenario.thread("writer") {
        light.atomic.store(.green, ordering: .relaxed)
        _ = pair.atomic.exchange(WordPair(first: 3, second: 4), ordering: .relaxed)
        pointer.atomic.store(ObjectIdentifier(account), ordering: .relaxed)
        check(light.atomic.load(ordering: .acquiring) == .red, "green")
      }
    }
    let trace = try #require(report.failure).trace.joined(separator: "\n")
    #expect(trace.contains("word0 is Atomic<Light>, red"))
    #expect(trace.contains("word0.store(green, relaxed)"))
    #expect(trace.contains("word1.exchange(relaxed): (1, 2) → (3, 4)"))
    #expect(trace.contains("word2.store(@writer1, relaxed)"))
    #expect(trace.contains("word0.load(acquire) → green"))
    #expect(trace.contains("StandInTests.swift:"))
  }

  @Test func anAtomicOfAnotherExecutionIsFound() throws {
    let kept = Keeper()
    let failure = try #require(
      Checker().run { scenario in
        let box = kept.box ?? Box(0)
        kept.box = box
        for name in ["one", "two"] {
          scenario.thread(name) { box.atomic.wrappingAdd(1, ordering: .relaxed) }
        }
      }.failure)
    #expect(failure.kind == .nondeterminism)
    #expect(failure.message.contains("an atomic of another execution, at StandInTests.swift:"))
  }

  @Test func aUseOutsideOfAScenarioSaysSo() async throws {
    let atomic = try #require(
      await #expect(
        processExitsWith: .failure, observing: [\.standardErrorContent]
      ) { _ = Atomic(0) })
    #expect(
      String(decoding: atomic.standardErrorContent, as: UTF8.self)
        .contains("an atomic at StandInTests.swift:"))
    await #expect(processExitsWith: .failure) { _ = Mutex(0) }
    await #expect(processExitsWith: .failure) { _ = AtomicLazyReference<Account>() }
    await #expect(processExitsWith: .failure) { _ = PlainArray(repeating: 0, count: 1) }
    await #expect(processExitsWith: .failure) { atomicMemoryFence(ordering: .acquiring) }
    await #expect(processExitsWith: .failure) { spinLoopHint() }
  }

  @Test(arguments: ["atomic", "mutex", "plain memory"])
  func anObjectThatAThreadMakesIsExplained(_ what: String) throws {
    let report = Checker().run { scenario in
      scenario.thread("one") {
        switch what {
        case "atomic": _ = Atomic(0)
        case "mutex": _ = Mutex(0)
        default: _ = PlainArray(repeating: 0, count: 1)
        }
      }
    }
    let failure = try #require(report.failure)
    #expect(failure.kind == .trap)
    #expect(failure.message.contains("\(what) is made at StandInTests.swift:"))
  }

  @Test func aSpinLoopEndsItsTurn() {
    let result = kind { scenario in
      let flag = Box(false), data = PlainArray(repeating: 0, count: 1)
      scenario.thread("setter") {
        data[0] = 1
        flag.atomic.store(true, ordering: .releasing)
      }
      scenario.thread("waiter") {
        while !flag.atomic.load(ordering: .acquiring) { spinLoopHint() }
        check(data[0] == 1)
      }
    }
    #expect(result == nil)
  }

  @Test func anIndexThatDoesNotExistIsATrap() {
    let result = kind { scenario in
      let data = PlainArray(repeating: 0, count: 1)
      scenario.thread("one") { data[1] = 0 }
    }
    #expect(result == .trap)
  }
}

/// An atomic that closures share.
final class Box<Value: AtomicRepresentable & Sendable>: Sendable {
  let atomic: Atomic<Value>
  init(_ value: Value) { atomic = Atomic(value) }
}

enum Light: UInt8, AtomicRepresentable { case red, green }

final class Account: Sendable {
  let name: String
  init(_ name: String) { self.name = name }
}

struct NoMoney: Error {}

private final class Keeper { var box: Box<Int>? }

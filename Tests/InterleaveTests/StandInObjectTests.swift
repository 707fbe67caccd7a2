import Interleave
import InterleaveSynchronization
import Testing

/// `Mutex`, `AtomicLazyReference`, pairs and pointers of `InterleaveSynchronization`.
@Suite struct StandInObjectTests {
  private func kind(_ scenario: (Scenario) -> Void) -> Failure.Kind? {
    let report = Checker().run(scenario)
    if report.failure == nil { #expect(report.isComplete, "\(report)") }
    return report.failure?.kind
  }

  private final class Locked<Value: Sendable>: Sendable {
    let mutex: Mutex<Value>
    init(_ value: Value) { mutex = Mutex(value) }
  }

  // MARK: Mutex

  @Test func aMutexExcludesAndOrders() {
    let result = kind { scenario in
      let data = PlainArray(repeating: 0, count: 1), locked = Locked([String]())
      for name in ["one", "two", "three"] {
        scenario.thread(name) {
          locked.mutex.withLock {
            data[0] += 1
            $0.append(name)
          }
        }
      }
      scenario.finally {
        check(data[0] == 3)
        check(locked.mutex.withLock { Set($0) } == ["one", "two", "three"])
      }
    }
    #expect(result == nil)
  }

  /// The order of two sections is part of the state, although only the mutex knows its value. What
  /// follows is explored for both orders.
  @Test(arguments: reductions.filter { $0.contains(.stateCache) })
  func bothOrdersOfTwoSectionsAreFound(
    _ reduction: Checker.Reduction
  ) {
    var options = Checker.Options(), results: Set<[Int]> = []
    options.reduction = reduction
    let report = Checker(options).run { scenario in
      let locked = Locked([Int]()), words = Words()
      for thread in [1, 2] {
        scenario.thread("\(thread)") {
          locked.mutex.withLock { $0.append(thread) }
          words.x.add(1, .release)
        }
      }
      let choice = addChoice(after: words, to: scenario)
      scenario.finally { results.insert(locked.mutex.withLock { $0 } + [choice.number]) }
    }
    #expect(report.isComplete && results == [[1, 2, 1], [1, 2, 2], [2, 1, 1], [2, 1, 2]])
  }

  /// Adds a thread that begins when two others have counted x up, and knows all that they did. Then
  /// its weak swap fails or not. So there is a state with all that happened before in it, and two
  /// ways to go on.
  private func addChoice(after words: Words, to scenario: Scenario) -> Choice {
    let choice = Choice()
    scenario.thread("choice") {
      while words.x.load(.acquire) != 2 { pause() }
      choice.isSpurious =
        !choice.box.atomic.weakCompareExchange(expected: 0, desired: 1, ordering: .relaxed)
        .exchanged
    }
    return choice
  }

  @Test func twoMutexesInOppositeOrdersAreALivelock() {
    let result = kind { scenario in
      let a = Locked(0), b = Locked(0)
      for (name, first, second) in [("one", a, b), ("two", b, a)] {
        scenario.thread(name) {
          first.mutex.withLock { _ in second.mutex.withLock { $0 += 1 } }
        }
      }
    }
    #expect(result == .livelock)
  }

  @Test func aThreadThatTakesAMutexTwiceFails() throws {
    let report = Checker().run { scenario in
      let locked = Locked(0)
      scenario.thread("one") {
        locked.mutex.withLock { _ in
          check(locked.mutex.withLockIfAvailable { $0 } == nil)
          locked.mutex.withLock { $0 += 1 }
        }
      }
    }
    let failure = try #require(report.failure)
    #expect(failure.kind == .trap)
    #expect(failure.message.hasPrefix("one takes a Mutex that it holds already"))
  }

  @Test func aSectionThatThrowsGivesTheMutexBack() {
    let result = kind { scenario in
      let locked = Locked(0)
      for name in ["one", "two"] {
        scenario.thread(name) {
          try? locked.mutex.withLock {
            $0 += 1
            throw NoMoney()
          }
        }
      }
      scenario.finally { check(locked.mutex.withLockIfAvailable { $0 } == 2) }
    }
    #expect(result == nil)
  }

  /// All results of a thread that tries a mutex while another holds it, with a word that the other
  /// changes in its section: (what the word was before, whether the mutex was free).
  @Test(arguments: reductions) func aTriedMutexIsSeenTaken(_ reduction: Checker.Reduction) {
    var options = Checker.Options(), results: Set<[Bool]> = []
    options.reduction = reduction
    let report = Checker(options).run { scenario in
      let locked = Locked(0), words = Words()
      var result: [Bool] = []
      scenario.thread("holder") { locked.mutex.withLock { _ in words.x.store(1, .sequential) } }
      scenario.thread("trier") {
        let isLate = words.x.load(.sequential) == 1
        result = [isLate, locked.mutex.withLockIfAvailable { _ in true } ?? false]
      }
      scenario.finally { results.insert(result) }
    }
    #expect(report.isComplete)
    #expect(results == [[false, false], [false, true], [true, false], [true, true]])
  }

  @Test func aTriedMutexOrdersAndExcludes() {
    let result = kind { scenario in
      let data = PlainArray(repeating: 0, count: 1), locked = Locked(0), tries = Box(0)
      for name in ["one", "two"] {
        scenario.thread(name) {
          let done: Void? = locked.mutex.withLockIfAvailable {
            data[0] += 1
            $0 += 1
          }
          if done != nil { tries.atomic.wrappingAdd(1, ordering: .relaxed) }
        }
      }
      scenario.finally {
        check(data[0] == locked.mutex.withLock { $0 })
        check(data[0] == tries.atomic.load(ordering: .relaxed) && data[0] > 0)
      }
    }
    #expect(result == nil)
  }

  @Test func aLoopThatTriesWaitsForTheOwner() {
    let result = kind { scenario in
      let locked = Locked(0)
      for name in ["one", "two"] {
        scenario.thread(name) {
          while locked.mutex.withLockIfAvailable({ $0 += 1 }) == nil { spinLoopHint() }
        }
      }
      scenario.finally { check(locked.mutex.withLock { $0 } == 2) }
    }
    #expect(result == nil)
  }

  @Test func aFailureOfATriedMutexReplays() throws {
    let scenario: (Scenario) -> Void = { scenario in
      let locked = Locked(0), words = Words()
      scenario.thread("holder") {
        words.y.add(1, .relaxed)
        locked.mutex.withLock { $0 += 1 }
        locked.mutex.withLock { _ in words.x.store(1, .relaxed) }
      }
      scenario.thread("trier") {
        words.y.add(1, .relaxed)
        if words.x.load(.relaxed) == 1 {
          check(locked.mutex.withLockIfAvailable { $0 } != nil, "taken")
        }
      }
    }
    let failure = try #require(Checker().run(scenario).failure)
    #expect(failure.message.hasPrefix("taken"))
    #expect(failure.trace.contains { $0.contains("tryLock: failed, holder holds it") })
    #expect(Checker().replay(failure.token, scenario)?.trace == failure.trace)
  }

  @Test func theValueOfAMutexEndsWithIt() {
    final class Counted: Sendable {
      let ended: @Sendable () -> Void
      init(_ ended: @escaping @Sendable () -> Void) { self.ended = ended }
      deinit { ended() }
    }
    let report = Checker().run { scenario in
      let words = Words()
      do {
        let mutex = Mutex(Counted { words.x.add(1, .relaxed) })
        mutex.withLock { _ in check(words.x.load(.relaxed) == 0) }
      }
      check(words.x.load(.relaxed) == 1)
    }
    #expect(report.isComplete, "\(report)")
  }

  // MARK: Lazy references

  @Test func exactlyOneObjectWins() {
    var winners: Set<String> = []
    let result = kind { scenario in
      let lazy = Lazy(), results = Names()
      for name in ["one", "two", "three"] {
        scenario.thread(name) {
          results.names.append(lazy.reference.storeIfNil(Account(name)).name)
        }
      }
      scenario.finally {
        let winner = lazy.reference.load()!.name
        winners.insert(winner)
        check(results.names == [winner, winner, winner])
      }
    }
    #expect(result == nil && winners == ["one", "two", "three"])
  }

  @Test func aLazyReferencePublishesItsObject() {
    final class Holder: Sendable {
      let data: PlainArray<Int>
      init(_ data: PlainArray<Int>) { self.data = data }
    }
    var seen: Set<Bool> = []
    let result = kind { scenario in
      let data = PlainArray(repeating: 0, count: 1), lazy = LazyOf<Holder>()
      scenario.thread("writer") {
        data[0] = 5
        _ = lazy.reference.storeIfNil(Holder(data))
      }
      scenario.thread("reader") {
        let holder = lazy.reference.load()
        seen.insert(holder != nil)
        if let holder { check(holder.data[0] == 5) }
      }
    }
    #expect(result == nil && seen == [false, true])
  }

  // MARK: Pairs and pointers

  @Test func aPairIsSwappedAsAWhole() {
    let result = kind { scenario in
      let pair = Box(WordPair(first: 0, second: 0))
      for name in ["one", "two"] {
        scenario.thread(name) {
          var old = pair.atomic.load(ordering: .relaxed)
          while true {
            check(old.first &+ old.second == 0, "a mixed pair")
            let (exchanged, found) = pair.atomic.compareExchange(
              expected: old, desired: WordPair(first: old.first &+ 1, second: old.second &- 1),
              ordering: .relaxed)
            if exchanged { break }
            old = found
          }
        }
      }
      scenario.finally { check(pair.atomic.load(ordering: .relaxed).first == 2) }
    }
    #expect(result == nil)
  }

  @Test func pairsThatDifferInOneWordDiffer() {
    let result = kind { scenario in
      let pair = Box(WordPair(first: 1, second: 1))
      scenario.thread("one") {
        for other in [WordPair(first: 1, second: 2), WordPair(first: 2, second: 1)] {
          let (exchanged, found) = pair.atomic.compareExchange(
            expected: other, desired: other, ordering: .relaxed)
          check(!exchanged && found == WordPair(first: 1, second: 1))
        }
      }
    }
    #expect(result == nil)
  }

  /// Objects that threads make have other addresses in each execution.
  @Test func addressesMayDifferFromRunToRun() {
    var last: Set<[Bool]> = []
    let result = kind { scenario in
      let top = Box<ObjectIdentifier?>(nil), kept = Names()
      for name in ["one", "two"] {
        scenario.thread(name) {
          // Kept until the end, so that no two objects have the same address.
          let account = Account(name)
          kept.accounts.append(account)
          let old = top.atomic.exchange(ObjectIdentifier(account), ordering: .relaxed)
          check(old != ObjectIdentifier(account))
        }
      }
      scenario.finally {
        let id = top.atomic.load(ordering: .relaxed)
        last.insert(kept.accounts.map { ObjectIdentifier($0) == id })
      }
    }
    #expect(result == nil && last == [[false, true], [true, false]])
  }

  /// Which thread is the first to pass an address depends on the schedule. All results are found,
  /// whatever number the address has.
  @Test(arguments: reductions.filter { $0.contains(.stateCache) })
  func anAddressThatTwoThreadsPassIsOne(_ reduction: Checker.Reduction) {
    var options = Checker.Options(), results: Set<[Int]> = []
    options.reduction = reduction
    let report = Checker(options).run { scenario in
      let p = Account("p"), q = Account("q"), top = Box<ObjectIdentifier?>(nil), words = Words()
      // The first step decides who passes `p` first.
      scenario.thread("a") {
        words.z.store(1, .relaxed)
        top.atomic.store(ObjectIdentifier(p), ordering: .relaxed)
        words.x.add(1, .release)
      }
      scenario.thread("b") {
        words.z.store(1, .relaxed)
        top.atomic.store(ObjectIdentifier(p), ordering: .relaxed)
        top.atomic.store(ObjectIdentifier(q), ordering: .relaxed)
        words.x.add(1, .release)
      }
      let choice = addChoice(after: words, to: scenario)
      scenario.finally {
        let isP = top.atomic.load(ordering: .relaxed) == ObjectIdentifier(p)
        results.insert([isP ? 1 : 0, choice.number])
        withExtendedLifetime((p, q)) {}
      }
    }
    #expect(report.isComplete, "\(report)")
    #expect(results == [[0, 1], [0, 2], [1, 1], [1, 2]])
  }
}

private final class Choice {
  let box = Box(0)
  var isSpurious = false
  var number: Int { isSpurious ? 2 : 1 }
}

private final class Lazy: Sendable { let reference = AtomicLazyReference<Account>() }
private final class LazyOf<Instance: AnyObject & Sendable>: Sendable {
  let reference = AtomicLazyReference<Instance>()
}
private final class Names {
  var names: [String] = []
  var accounts: [Account] = []
}

import Interleave
import InterleaveSynchronization
import Testing

/// Random programs with mutexes, weak swaps, pairs and addresses: every reduction finds exactly the
/// results of plain search.
@Suite struct StandInDifferentialTests {
  static let programs = 240
  static let shards = 4

  @Test(arguments: 0..<shards)
  func reductionsAgree(_ shard: Int) {
    for seed in stride(from: shard, to: Self.programs, by: Self.shards) {
      var generator = SeededGenerator(seed: UInt64(seed + 70_000))
      let program = StandInProgram(using: &generator)
      let expected = program.results([])
      for reduction in reductions.dropFirst() {
        #expect(program.results(reduction) == expected, "seed \(seed), \(reduction): \(program)")
      }
    }
  }
}

private struct StandInProgram {
  enum Step: CaseIterable {
    case lock, lockAndStore, tryLock, weakSwap, load, store, swapPair, pushAddress, readAddress
  }

  let threads: [[Step]]

  /// Two threads of two or three steps.
  init(using generator: inout SeededGenerator) {
    threads = (0..<2).map { _ in
      (0..<Int.random(in: 2...3, using: &generator)).map { _ in
        Step.allCases.randomElement(using: &generator)!
      }
    }
  }

  private final class Objects {
    let mutex = Mutex([Int]()), word = Atomic(0)
    let pair = Atomic(WordPair(first: 0, second: 0)), top = Atomic<ObjectIdentifier?>(nil)
    let accounts = [Account("0"), Account("1")]
    var results: [[Int]] = [[], []]

    func run(_ step: Step, by thread: Int, _ index: Int) -> Int {
      let value = thread * 8 + index + 1
      switch step {
      case .lock:
        return mutex.withLock {
          $0.append(value)
          return $0.count
        }
      case .lockAndStore:
        return mutex.withLock {
          word.store(value, ordering: .relaxed)
          $0.append(value)
          return $0.count
        }
      case .tryLock:
        return mutex.withLockIfAvailable {
          $0.append(value)
          return $0.count
        } ?? -1
      case .weakSwap:
        let (exchanged, found) = word.weakCompareExchange(
          expected: 0, desired: value, ordering: .acquiringAndReleasing)
        return exchanged ? -1 : found
      case .load: return word.load(ordering: .acquiring)
      case .store:
        word.store(value, ordering: .releasing)
        return 0
      case .swapPair:
        let old = pair.load(ordering: .relaxed)
        return Int(
          pair.compareExchange(
            expected: old, desired: WordPair(first: old.first + 1, second: UInt(value)),
            ordering: .relaxed
          ).original.second)
      case .pushAddress:
        return name(top.exchange(ObjectIdentifier(accounts[index % 2]), ordering: .relaxed))
      case .readAddress: return name(top.load(ordering: .relaxed))
      }
    }

    private func name(_ id: ObjectIdentifier?) -> Int {
      accounts.firstIndex { ObjectIdentifier($0) == id } ?? -1
    }

    var final: [[Int]] {
      results + [
        mutex.withLock { $0 }, [word.load(ordering: .relaxed)],
        [Int(pair.load(ordering: .relaxed).second)], [name(top.load(ordering: .relaxed))],
      ]
    }
  }

  func results(_ reduction: Checker.Reduction) -> Set<[[Int]]> {
    var options = Checker.Options(), results: Set<[[Int]]> = []
    options.reduction = reduction
    let report = Checker(options).run { scenario in
      let objects = Objects()
      for (thread, steps) in threads.enumerated() {
        scenario.thread("\(thread)") {
          for (index, step) in steps.enumerated() {
            objects.results[thread].append(objects.run(step, by: thread, index))
          }
        }
      }
      scenario.finally { results.insert(objects.final) }
    }
    #expect(report.isComplete, "\(report)")
    return results
  }
}

import Interleave
import LockModel
import Testing

/// The production file SpinLock.swift: what one thread writes under the lock the next one sees, and
/// every waiting thread gets the lock. The other scenarios use a `ModelLock` in its place.
@Suite struct LockTests {
  static func scenario(threads: Int, rounds: Int) -> (Scenario) -> Void {
    { scenario in
      let lock = Box()
      let cell = ModelCell(0, name: "guarded")
      for thread in 1...threads {
        scenario.thread("thread \(thread)") {
          for round in 1...rounds {
            lock.lock.withLock { cell.store(cell.load() + 1) }
            forget(round)
          }
        }
      }
      scenario.finally { check(cell.load() == UInt64(threads * rounds), "two at a time") }
    }
  }

  private final class Box { let lock = LockModel.SpinLock() }

  @Test func threeThreads() { verify("spin lock: 3 threads", Self.scenario(threads: 3, rounds: 1)) }
  @Test func twoThreadsTwice() {
    verify("spin lock: 2 threads, twice", Self.scenario(threads: 2, rounds: 2))
  }

  /// Both orderings of the lock are needed.
  @Test func aWeakerLockIsFound() {
    let results = Checker().weaken(
      files: ["SpinLock.swift"], Self.scenario(threads: 2, rounds: 1))
    #expect(results.count >= 2)
    for (weakening, report) in results {
      #expect(report.failure?.kind == .dataRace, "\(weakening): \(report)")
    }
  }
}

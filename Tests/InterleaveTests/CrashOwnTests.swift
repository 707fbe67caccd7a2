import Interleave
import Testing

/// The words and locks that recovery makes for itself.
@Suite struct CrashOwnTests {
  private final class Own: Sendable {
    let word = ModelWord(7)
    let lock = ModelLock()
  }

  /// More than a scenario can have, and each is a word of its own.
  @Test func recoveryMakesAnyNumberOfWords() {
    let report = Checker().run { scenario in
      let word = surviving { ModelWord(0) }
      scenario.thread("one") { word.store(1, .release) }
      scenario.afterCrash {
        let all = (0..<100).map { _ in Own() }
        for (number, own) in all.enumerated() {
          own.lock.lock()
          own.word.store(UInt64(number), .relaxed)
          check(own.word.add(2, .relaxed) == number)
          check(!own.word.compareExchange(0, 1, .relaxed).exchanged)
          check(own.word.compareExchange(UInt64(number) + 2, UInt64(number), .relaxed).exchanged)
          own.lock.unlock()
        }
        check(all.enumerated().allSatisfy { $1.word.load(.relaxed) == $0 && $1.word.peek == $0 })
      }
    }
    #expect(report.isComplete, "\(report)")
  }

  @Test func aLockOfRecoveryThatIsNeverGivenBack() {
    let report = Checker().run { scenario in
      let word = surviving { ModelWord(0) }
      scenario.thread("one") { word.store(1, .release) }
      scenario.afterCrash {
        let own = Own()
        own.lock.lock()
        own.lock.lock()
      }
    }
    #expect(report.failure?.kind == .livelock, "\(report)")
  }

  /// A release makes recovery's plain writes certain, on whatever word, and if recovery is killed too.
  @Test(arguments: [MemoryOrder.release, .relaxed])
  func aReleaseOnAWordOfRecovery(_ order: MemoryOrder) {
    let report = Checker().run { scenario in
      let record = surviving { ModelCell(0) }, root = surviving { ModelWord(0) }
      scenario.thread("one") {}
      scenario.afterCrash {
        let own = Own()
        if root.load(.relaxed) == 1 { check(record.load() == 1) }
        record.store(1)
        own.word.store(0, order)
        root.store(1, .relaxed)
      }
    }
    #expect(report.isComplete == (order == .release), "\(report)")
  }
}

import Interleave
import InterleaveSynchronization
import Testing

/// What recovery may use, and the errors of a scenario that uses crashes wrongly.
@Suite struct CrashUseTests {
  /// One thread stores into a word that survives. `recover` gets what does not survive.
  private func failure(
    _ recover: @escaping (Words, ModelCell, ModelHeap) -> Void
  ) -> Failure? {
    let report = Checker().run { scenario in
      let word = surviving { ModelWord(0) }
      let words = Words(), cell = ModelCell(0, name: "cache"), heap = ModelHeap(capacity: 1)
      scenario.thread("one") { word.store(1, .release) }
      scenario.afterCrash { recover(words, cell, heap) }
    }
    if report.failure == nil { #expect(report.isComplete) }
    return report.failure
  }

  @Test func whatDoesNotSurviveIsLost() {
    let failures = [
      failure { words, _, _ in _ = words.x.load(.relaxed) },
      failure { words, _, _ in words.x.store(1, .relaxed) },
      failure { words, _, _ in _ = words.x.peek },
      failure { _, cell, _ in _ = cell.load() },
      failure { _, cell, _ in cell.store(1) },
      failure { _, _, heap in _ = heap.allocate() },
      failure { _, _, heap in _ = heap.claim(1) },
    ]
    for failure in failures {
      #expect(failure?.kind == .lostMemory)
      #expect(failure?.message.contains("of the process that was killed") == true)
    }
  }

  @Test(arguments: [false, true])
  func aLockIsLost(_ isMutex: Bool) {
    let report = Checker().run { scenario in
      let word = surviving { ModelWord(0) }
      let lock = ModelLock(), mutex = Mutex(0)
      scenario.thread("one") {
        lock.lock()
        word.store(1, .release)
        lock.unlock()
      }
      scenario.afterCrash {
        if isMutex { mutex.withLock { $0 = 1 } } else { lock.lock() }
      }
    }
    #expect(report.failure?.kind == .lostMemory, "\(report)")
  }

  /// Recovery makes as many words as fit beside those that survive, again and again.
  @Test func recoveryHasWordsOfItsOwn() {
    final class Many {
      let words: [Words]
      init(_ count: Int) { words = (0..<count).map { _ in Words() } }
    }
    let report = Checker().run { scenario in
      let left = surviving { Many(1) }, lost = Many(17)
      for index in 0..<2 {
        scenario.thread("\(index)") {
          left.words[0].x.add(1, .release)
          lost.words[index].x.store(9, .relaxed)
        }
      }
      scenario.afterCrash {
        let own = Many(17), lock = ModelLock(), cell = ModelCell(0)
        for words in own.words {
          check(words.x.load(.relaxed) == 0, "a new word is 0")
          words.x.store(5, .relaxed)
        }
        lock.lock()
        cell.store(left.words[0].x.load(.relaxed))
        lock.unlock()
        check(cell.load() <= 2 && own.words.allSatisfy { $0.x.load(.relaxed) == 5 })
      }
      scenario.finally { check(lost.words[1].x.load(.relaxed) == 9, "recovery changed it") }
    }
    #expect(report.isComplete && report.crashes == 3, "\(report)")
  }

  /// The stand-ins of `Synchronization` survive like words, and are lost like words.
  @Test(arguments: [false, true])
  func atomicsSurvive(_ isMarked: Bool) {
    final class Record: Sendable {
      let isFull = Atomic(false), letter = Atomic<UInt8>(0)
    }
    let report = Checker().run { scenario in
      let word = surviving { ModelWord(0) }
      let record = isMarked ? surviving { Record() } : Record()
      scenario.thread("writer") {
        record.letter.store(7, ordering: .relaxed)
        record.isFull.store(true, ordering: .releasing)
        word.store(1, .release)
      }
      scenario.afterCrash {
        guard record.isFull.load(ordering: .acquiring) else { return }
        check(record.letter.load(ordering: .relaxed) == 7)
      }
    }
    #expect(
      isMarked ? report.isComplete && report.crashes == 4 : report.failure?.kind == .lostMemory)
  }

  // MARK: Mistakes

  private func misuse(_ scenario: (Scenario) -> Void) -> String? {
    let failure = Checker().run(scenario).failure
    return failure?.kind == .misuse ? failure?.message : nil
  }

  @Test func somethingMustSurvive() {
    let message = misuse { scenario in
      let words = Words()
      scenario.thread("one") { words.x.store(1, .relaxed) }
      scenario.afterCrash {}
    }
    #expect(message?.contains("nothing survives") == true)
  }

  @Test func thereIsOneRecovery() {
    let message = misuse { scenario in
      _ = surviving { ModelWord(0) }
      scenario.afterCrash {}
      scenario.afterCrash {}
    }
    #expect(message?.contains("one afterCrash") == true)
  }

  @Test func aLockCannotSurvive() {
    let message = misuse { scenario in
      let lock = surviving { ModelLock() }
      scenario.thread("one") { lock.lock() }
    }
    #expect(message?.contains("nobody would give it back") == true)
  }

  @Test func aPlainArrayCannotSurvive() {
    let message = misuse { scenario in
      let array = surviving { PlainArray(repeating: 0, count: 1) }
      scenario.thread("one") { array[0] = 1 }
    }
    #expect(message?.contains("Use a ModelCell") == true)
  }

  @Test func recoveryNeedsAThread() {
    let message = misuse { scenario in
      let words = surviving { Words() }
      for index in 1...7 { scenario.thread("\(index)") { words.x.store(1, .relaxed) } }
      scenario.afterCrash {}
    }
    #expect(message?.contains("more than 6 threads") == true)
  }

  @Test func theSetUpMakesAllThatSurvives() {
    let message = misuse { scenario in
      let words = surviving { Words() }
      scenario.thread("one") { words.x.store(1, .relaxed) }
      scenario.afterCrash { _ = surviving { ModelWord(0) } }
    }
    #expect(message?.contains("the set-up makes all of it") == true)
  }

  @Test func onlyRecoveryClaims() {
    let message = misuse { scenario in
      let heap = surviving { ModelHeap(capacity: 1) }
      scenario.thread("one") { _ = heap.claim(1) }
      scenario.afterCrash {}
    }
    #expect(message?.contains("claim outside of afterCrash") == true)
  }

  /// Each write may be missing or not, so many of them without a release are too many.
  @Test func writesNeedReleases() {
    let message = misuse { scenario in
      let cells = surviving { (0..<12).map { _ in ModelCell(0) } }
      scenario.thread("one") { for cell in cells { cell.store(1) } }
      scenario.afterCrash {}
    }
    #expect(message?.contains("without a release") == true)
  }

  /// The mark changes nothing for a scenario that does not crash.
  @Test func withoutAfterCrashNothingChanges() {
    func executions(_ survives: Bool) -> Int {
      let report = Checker().run { scenario in
        let words = survives ? surviving { Words() } : Words()
        let cell = survives ? surviving { ModelCell(0) } : ModelCell(0)
        scenario.thread("one") {
          cell.store(1)
          words.x.store(1, .release)
          words.y.store(1, .release)
        }
        scenario.thread("two") { if words.x.load(.acquire) == 1 { check(cell.load() == 1) } }
      }
      #expect(report.isComplete && report.crashes == 0)
      return report.executions
    }
    #expect(executions(true) == executions(false))
  }
}

import Interleave
import Testing

@testable import ProtocolsModel

/// The races in the zero page's history, each planted in the protocol that had it. The numbers are
/// those of the same list of bugs that the tests of `HugeMemory` use.
@Suite struct HistoryTests {
  // MARK: Two variables

  static func twoVariables(getters: Int, _ plant: TwoVariablePage.Plant) -> (Scenario) -> Void {
    { scenario in
      let frames = Frames(getters + 1)
      let zeroPage = TwoVariablePage(frames, plant)
      for getter in 1...getters {
        scenario.thread("getter \(getter)") {
          let frame = zeroPage.get()
          check(zeroPage.isZeroPage(frame), "the zero page is taken for ordinary memory")
          check(frames.heap.load(frame) == 0)
          zeroPage.put()
          forget(1)
        }
      }
      scenario.thread("shrinker") {
        zeroPage.shrink()
        forget(1)
      }
      scenario.finally {
        let isPublished = zeroPage.count.load(.relaxed) > 0
        check(frames.heap.liveCount == (isPublished ? 1 : 0), "two zero pages, or a leak")
      }
    }
  }

  @Test func theKernelsProtocolIsSoundIfNobodyIsDescheduled() {
    verify("two variables, 1 getter, shrinker", Self.twoVariables(getters: 1, .none))
    if isOptimized {
      verify("two variables, 2 getters, shrinker", Self.twoVariables(getters: 2, .none))
    }
  }

  @Test func history23_aDescheduledPublisherMakesGettersWait() {
    var options = Checker.Options()
    options.forbidsWaiting = true
    refute(
      "item 23, two variables without preempt_disable", [.livelock],
      Self.twoVariables(getters: 2, .none), with: Checker(options))
  }

  @Test func history4_frameZeroIsPublishedTwice() {
    refute("item 4", [.check, .dataRace, .useAfterFree], Self.twoVariables(getters: 2, .frameZero))
  }

  @Test func history11_aLateShrinkerClearsTheNextPagesCopy() {
    refute("item 11", [.check], Self.twoVariables(getters: 2, .copyClearedLate))
  }

  @Test func aRelaxedPublicationIsFound() {
    refute(
      "two variables, relaxed publication", [.check, .dataRace],
      Self.twoVariables(getters: 2, .relaxedPublication))
  }

  // MARK: Callers

  /// Two read faults on one slot. `looksAgain` is whether a fault checks the entry again under the
  /// lock.
  static func faults(_ count: Int, looksAgain: Bool) -> (Scenario) -> Void {
    { scenario in
      let machine = Machine(frames: count + 1)
      let entry = Entry(0), lock = SpinLock()
      for fault in 1...count {
        scenario.thread("fault \(fault)") {
          guard entry.word.load(.acquire) == 0, let frame = machine.get() else { return }
          lock.lock()
          let isMapped = looksAgain && entry.word.load(.relaxed) != 0
          if !isMapped { entry.word.store(UInt64(frame), .release) }
          lock.unlock()
          if isMapped { machine.zeroPage.put() }
          forget(1)
        }
      }
      scenario.thread("shrinker") {
        _ = machine.zeroPage.shrinkerScan(to: machine.frames)
        forget(1)
      }
      scenario.finally { machine.checkAtRest(holders: 1) }
    }
  }

  @Test func faultAgainstFaultOnOneSlot() {
    verify("2 faults on one slot, shrinker", Self.faults(2, looksAgain: true))
  }

  /// Four threads. Bounded, because with the lock there are too many states to explore them all.
  @Test(.enabled(if: isOptimized, "run by make interleave"))
  func threeFaultsOnOneSlot() {
    verify(
      "3 faults on one slot, shrinker", Self.faults(3, looksAgain: true),
      with: Checker(preemptionBound: 2))
  }

  @Test func history2_anEntryOverwrittenByTheSecondFault() {
    refute("item 2", [.check], Self.faults(2, looksAgain: false))
  }

  /// A write fault on a zero entry, against a discard and the shrinker. The fault decides by the
  /// entry that it loaded. With `asksTwice`, it asks "is this the zero page?" a second time.
  static func writeFault(asksTwice: Bool) -> (Scenario) -> Void {
    { scenario in
      let machine = Machine(frames: 2)
      let entry = Entry(machine.get()!), lock = SpinLock()
      scenario.thread("write fault") {
        let seen = UInt32(entry.word.load(.acquire))
        guard seen != 0, let fresh = machine.frames.allocateZeroFrame() else { return }
        if asksTwice, machine.zeroPage.snapshot().frame != seen {
          machine.frames.heap.store(fresh, machine.frames.heap.load(seen))
        }
        lock.lock()
        let isSame = entry.word.load(.relaxed) == UInt64(seen)
        if isSame { entry.word.store(UInt64(fresh) | 1 << 32, .release) }
        lock.unlock()
        if isSame { machine.zeroPage.put() } else { machine.frames.freeZeroFrame(fresh) }
      }
      scenario.thread("discard") {
        lock.lock()
        let old = entry.word.load(.relaxed)
        if old >> 32 == 0 { entry.word.store(0, .release) }
        lock.unlock()
        if old >> 32 == 0 { machine.zeroPage.put() }
      }
      scenario.thread("shrinker") {
        _ = machine.zeroPage.shrinkerScan(to: machine.frames)
      }
      scenario.finally {
        let isPrivate = entry.word.load(.relaxed) != 0
        machine.checkAtRest(others: isPrivate ? 1 : 0)
      }
    }
  }

  @Test func writeFaultAgainstDiscard() {
    verify("write fault, discard, shrinker", Self.writeFault(asksTwice: false))
  }

  @Test func history5_aSecondQuestionGetsAnotherAnswer() {
    refute("item 5", [.dataRace, .useAfterFree], Self.writeFault(asksTwice: true))
  }

  /// One reference for a whole process. `loserPuts` is whether the loser of the test-and-set drops
  /// its own reference.
  static func referencePerProcess(loserPuts: Bool) -> (Scenario) -> Void {
    { scenario in
      let machine = Machine(frames: 3)
      let holds = AtomicWord(0, name: "holds")
      for name in ["fault 1", "fault 2"] {
        scenario.thread(name) {
          guard holds.load(.acquire) == 0, machine.get() != nil else { return }
          if !holds.compareExchange(0, 1, .acquireRelease).exchanged && loserPuts {
            machine.zeroPage.put()
          }
        }
      }
      scenario.finally { machine.checkAtRest(holders: 1) }
    }
  }

  @Test func history8b_theLoserKeepsItsReference() {
    verify("one reference a process, 2 faults", Self.referencePerProcess(loserPuts: true))
    refute("item 8b", [.check], Self.referencePerProcess(loserPuts: false))
  }
}

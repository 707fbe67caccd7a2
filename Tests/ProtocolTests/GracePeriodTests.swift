import Interleave
import Testing

@testable import ProtocolsModel

/// The production file GracePeriod.swift with the production zero page: a frame that was unmapped
/// is freed only when no reader can still hold the translation.
@Suite struct GracePeriodTests {
  enum Plant { case none, putBeforeGracePeriod }

  /// Readers of a mapped zero page, a thread that unmaps it, and the shrinker.
  static func discard(
    readers: Int, sections: Int = 1, expedited: Bool, _ plant: Plant = .none
  ) -> (Scenario) -> Void {
    { scenario in
      let machine = Machine(frames: 1)
      let grace = GracePeriod(expedited: expedited)
      let entry = Entry(machine.get()!)
      for reader in 1...readers {
        scenario.thread("reader \(reader)") {
          for round in 1...sections {
            let section = grace.enter()
            let frame = entry.word.load(.acquire)
            if frame != 0 { machine.use(UInt32(frame)) }
            section.leave()
            forget(round)
          }
          ReaderSlot.release(in: grace)
        }
      }
      scenario.thread("discard") {
        entry.word.store(0, .release)
        if plant != .putBeforeGracePeriod { grace.synchronize() }
        machine.zeroPage.put()
        forget(1)
      }
      scenario.thread("shrinker") {
        _ = machine.zeroPage.shrinkerScan(to: machine.frames)
        forget(1)
      }
      scenario.finally { machine.checkAtRest() }
    }
  }

  @Test(arguments: [true, false]) func discardAgainstAReader(expedited: Bool) {
    verify(
      "reader, discard, shrinker; \(expedited ? "membarrier" : "fences")",
      Self.discard(readers: 1, expedited: expedited))
  }

  /// A second section in the same slot, by the same thread or by the slot's next owner. Seeing it
  /// says nothing about the first section unless the first happened before it. (The checker found
  /// this bug: `enter` used a relaxed store.)
  @Test(arguments: [true, false]) func aSecondSectionOfTheSameReader(expedited: Bool) {
    verify(
      "reader twice, discard, shrinker; \(expedited ? "membarrier" : "fences")",
      Self.discard(readers: 1, sections: 2, expedited: expedited))
  }

  @Test(.enabled(if: isOptimized, "run by make interleave"), arguments: [true, false])
  func aSlotPassesToTheNextReader(expedited: Bool) {
    verify(
      "2 readers, discard, shrinker; \(expedited ? "membarrier" : "fences")",
      Self.discard(readers: 2, expedited: expedited))
  }

  /// Four threads: two readers, who each read twice, and the two that unmap and free.
  @Test(.enabled(if: isOptimized, "make interleave"), arguments: [true, false])
  func fourThreadsBounded(expedited: Bool) {
    verify(
      "2 readers twice, discard, shrinker; \(expedited ? "membarrier" : "fences")",
      Self.discard(readers: 2, sections: 2, expedited: expedited),
      // With fences there are too many executions for a few seconds.
      with: Checker(preemptionBound: expedited ? 2 : 1))
  }

  @Test func history6_aPutBeforeTheGracePeriodIsFound() {
    refute(
      "item 6, put before the grace period", [.dataRace, .useAfterFree],
      Self.discard(readers: 1, expedited: true, .putBeforeGracePeriod))
  }
}

/// An entry of a table, accessed as in `Paging`: loads acquire, stores release.
final class Entry {
  let word: AtomicWord
  init(_ frame: UInt32) { word = AtomicWord(UInt64(frame), name: "entry") }
}

import Interleave
import Testing

@testable import ProtocolsModel

/// Makes the orderings of production code one step weaker, one at a time. Each is a planted bug:
/// some scenario must find it, or the list below says why none can. Among them are the relaxed
/// publication, the relaxed put and the missing fence of the grace period.
@Suite struct OrderingTests {
  static let files: Set = ["GracePeriod.swift", "HugeZeroPage.swift"]

  @Test(.enabled(if: isOptimized, "run by make interleave"))
  func everyOrderingIsNeeded() {
    let (count, unnoticed) = weaken(
      files: Self.files,
      [
        (ZeroPageTests.getters(2), nil),
        (GracePeriodTests.discard(readers: 1, sections: 2, expedited: true), nil),
        (GracePeriodTests.discard(readers: 1, sections: 2, expedited: false), nil),
        (GracePeriodTests.discard(readers: 2, expedited: true), 1),
      ])
    #expect(count >= 15)
    let names = unnoticed.map {
      "\($0.ordering.file) \($0.ordering.operation)(\($0.ordering.order)) → \($0.weaker)"
    }
    #expect(
      names.sorted() == [
        // In synchronize, the barrier that follows orders more than the `acquire` of `epoch` and of
        // `highest`. In assignSlot, slots are initialised before any thread has one, so their
        // number publishes nothing.
        "GracePeriod.swift add(acquireRelease) → release",
        "GracePeriod.swift compareExchange(acquireRelease) → acquire",
        "GracePeriod.swift compareExchange(acquireRelease) → release",
        "GracePeriod.swift load(acquire) → relaxed",
        "GracePeriod.swift load(acquire) → relaxed",
        // The publisher's `acquire` and the shrinker's `release` order the use of one page after
        // the use of the page before it. The allocator orders that too if both have the same frame,
        // so no scenario can notice.
        "HugeZeroPage.swift compareExchange(acquireRelease) → acquire",
        "HugeZeroPage.swift compareExchange(acquireRelease) → release",
      ])
  }

  /// The three that are best known from the history of such code. These run in an unoptimized build
  /// too.
  @Test func relaxedPublicationPutAndFenceAreFound() {
    for (operation, order, scenario) in [
      ("compareExchange", .acquire, ZeroPageTests.getters(2)),
      ("add", .release, ZeroPageTests.getters(2)),
      ("processFence", .sequential, GracePeriodTests.discard(readers: 1, expedited: true)),
      ("fence", .sequential, GracePeriodTests.discard(readers: 1, expedited: false)),
    ] as [(String, MemoryOrder, (Scenario) -> Void)] {
      var options = Checker.Options()
      options.recordsOrderings = true
      let orderings = Checker(options).run(scenario).orderings
      let planted = orderings.filter { $0.operation == operation && $0.order == order }
      #expect(!planted.isEmpty)
      for ordering in planted where Self.files.contains(ordering.file) {
        options.weakening = ordering.weakenings.first
        refute("\(options.weakening!)", [.dataRace], scenario, with: Checker(options))
      }
    }
  }
}

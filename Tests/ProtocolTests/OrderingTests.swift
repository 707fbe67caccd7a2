import Interleave
import Testing

@testable import ProtocolsModel

/// The orderings of production code, one at a time a step weaker: a planted bug each, which some
/// scenario must find, or the list below says why it need not. Among them are the relaxed publication, the relaxed put and the missing
/// fence of the grace period.
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
        // synchronize: the barrier that follows orders more than the `acquire` of `epoch` and of
        // `highest`; assignSlot: slots are initialised before anybody has one, so their number
        // publishes nothing.
        "GracePeriod.swift add(acquireRelease) → release",
        "GracePeriod.swift compareExchange(acquireRelease) → acquire",
        "GracePeriod.swift compareExchange(acquireRelease) → release",
        "GracePeriod.swift load(acquire) → relaxed",
        "GracePeriod.swift load(acquire) → relaxed",
        // The publisher's `acquire` and the shrinker's `release` put one page's life after the life
        // of the page before. The allocator does that too for one frame, so nobody can tell.
        "HugeZeroPage.swift compareExchange(acquireRelease) → acquire",
        "HugeZeroPage.swift compareExchange(acquireRelease) → release",
      ])
  }

  /// The three that the history of such code knows best, also in an unoptimized build.
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

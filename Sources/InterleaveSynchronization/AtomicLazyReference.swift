internal import Interleave

/// A reference that one thread sets, once. It has the methods of
/// `Synchronization.AtomicLazyReference` and the same orderings: `storeIfNil` acquires and
/// releases, `load` acquires.
///
/// The plain variables of the object are outside of the model. Let it hold a `PlainArray` if the
/// checker should see them.
///
/// - Thread safety: the methods may be called by every thread of the scenario.
public struct AtomicLazyReference<Instance: AnyObject>: ~Copyable {
  private let word: StandInWord
  private let winner = Winner()

  /// Holds the object that was stored. Only the thread whose step stored it writes this, before any
  /// other thread can take a step.
  private final class Winner { var instance: Instance? }

  /// Makes a reference that is nil.
  public init(file: StaticString = #fileID, line: UInt = #line) {
    word = StandInWord(0, "\(Self.self)", Site(file: file, line: line)) {
      AtomicAddress.describe(code: $0)
    }
  }

  /// Stores `desired` if the reference is nil. Returns the object that the reference then holds.
  public borrowing func storeIfNil(
    _ desired: consuming Instance, file: StaticString = #fileID, line: UInt = #line
  ) -> Instance {
    let site = Site(file: file, line: line)
    StandInWord.prepare(site)
    // The object's code cannot be its address: a new object may get the address of one that lost.
    let (exchanged, _) = word.compareExchange(
      0, StandIn.freshCode(), .acquireRelease, failure: nil, isWeak: false, site)
    if exchanged { winner.instance = desired }
    return winner.instance!
  }

  /// The object, or nil if this thread cannot know yet that one was stored.
  public borrowing func load(
    file: StaticString = #fileID, line: UInt = #line
  ) -> Instance? {
    word.load(.acquire, Site(file: file, line: line)) == 0 ? nil : winner.instance
  }
}

// `Winner` is not Sendable, but all threads of a scenario are fibres of one OS thread, and its
// variable is never accessed across a step.
extension AtomicLazyReference: @unchecked Sendable where Instance: Sendable {}

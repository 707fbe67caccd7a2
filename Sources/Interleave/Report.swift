/// What an exploration found, and how much of the scenario it covered.
public struct Report: Sendable, CustomStringConvertible {
  /// What the exploration can say about the scenario.
  public enum Verdict: Sendable {
    /// No failure under any schedule and with any value that the memory model allows.
    case complete
    /// No failure in any execution with at most this number of preemptions.
    case bounded(preemptions: Int)
    /// No failure before the budget of executions or of time was exhausted.
    case budgetExhausted
    /// An execution fails: with a trace that has few preemptions.
    case failed(Failure)
  }

  /// What the exploration can say about the scenario.
  public internal(set) var verdict: Verdict
  /// The number of executions, including those cut short at a known state.
  public internal(set) var executions = 0
  /// The number of executions that led only to states explored before.
  public internal(set) var pruned = 0
  /// The number of distinct states at scheduling points; 0 without the cache.
  public internal(set) var states = 0
  /// The number of contents of surviving memory that a crash can leave and that recovery has run on;
  /// 0 without `Scenario.afterCrash`.
  public internal(set) var crashes = 0
  /// How long the exploration took.
  public internal(set) var duration = Duration.zero

  /// The places where the code under test orders memory; empty unless `Options.recordsOrderings`.
  public internal(set) var orderings: Set<Ordering> = []

  /// Whether nothing failed and nothing was left out.
  public var isComplete: Bool { if case .complete = verdict { true } else { false } }
  /// The execution that fails; nil if none was found.
  public var failure: Failure? { if case .failed(let failure) = verdict { failure } else { nil } }

  public var description: String {
    let figures =
      "\(executions) executions, \(states) states, "
      + (crashes > 0 ? "\(crashes) crashes, " : "") + "\(duration.formattedMilliseconds) ms"
    return switch verdict {
    case .complete: "complete: \(figures)"
    case .bounded(let bound): "bounded(\(bound)), more preemptions not explored: \(figures)"
    case .budgetExhausted: "budget exhausted, the rest not explored: \(figures)"
    case .failed(let failure): "failed: \(figures)\n\(failure)"
    }
  }
}

/// An execution that fails.
public struct Failure: Error, Sendable, CustomStringConvertible {
  /// What was wrong.
  public enum Kind: Sendable, Hashable {
    /// A `check` did not hold.
    case check
    /// Two accesses to plain memory, one of them a write, were not ordered.
    case dataRace
    /// A frame was accessed or freed after its free.
    case useAfterFree
    /// The remaining threads spin on values that nobody will change.
    case livelock
    /// The execution does not end: it has a loop without `pause`, or one that feeds itself.
    case stepLimit
    /// A precondition, an overflow or a `fatalError` stopped the code under test.
    case trap
    /// The same schedule went differently the second time, or two equal states went on differently.
    case nondeterminism
    /// After a crash, recovery used memory that did not survive.
    case lostMemory
    /// The scenario uses the checker wrongly.
    case misuse
  }

  /// What was wrong, for code.
  public let kind: Kind
  /// What was wrong, for people.
  public let message: String
  /// The token that repeats exactly this execution, for `Checker.replay(_:_:)`.
  public let token: ReplayToken
  /// The number of switches away from a thread that could go on.
  public let preemptions: Int
  /// One line for each event, in the order of execution.
  public internal(set) var trace: [String] = []

  public var description: String {
    let lines = trace.map { "  \($0)\n" }.joined()
    return "\(message)\n\(lines)  replay: \"\(token)\""
  }
}

extension Duration {
  var formattedMilliseconds: String {
    let tenths = components.seconds * 10_000 + components.attoseconds / 100_000_000_000_000
    return "\(tenths / 10).\(tenths % 10)"
  }
}

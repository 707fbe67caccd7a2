/// What an exploration found, and how much of the scenario it covers.
public struct Report: Sendable, CustomStringConvertible {
  public enum Verdict: Sendable {
    /// Every schedule and every value that the memory model allows: no failure.
    case complete
    /// Every one with at most so many preemptions: no failure among them.
    case bounded(preemptions: Int)
    /// The budget of executions or of time ended first: no failure so far.
    case budgetExhausted
    case failed(Failure)
  }

  public internal(set) var verdict: Verdict
  /// Executions, those cut short at a known state included.
  public internal(set) var executions = 0
  /// Executions that led only to what was explored before.
  public internal(set) var pruned = 0
  /// Distinct states at scheduling points; 0 without the cache.
  public internal(set) var states = 0
  public internal(set) var duration = Duration.zero

  /// Where the code under test orders memory; empty unless `Options.recordsOrderings`.
  public internal(set) var orderings: Set<Ordering> = []

  /// True only if nothing was left out.
  public var isComplete: Bool { if case .complete = verdict { true } else { false } }
  public var failure: Failure? { if case .failed(let failure) = verdict { failure } else { nil } }

  public var description: String {
    let figures =
      "\(executions) executions, \(states) states, \(duration.formattedMilliseconds) ms"
    return switch verdict {
    case .complete: "complete: \(figures)"
    case .bounded(let bound): "bounded(\(bound)), more preemptions not explored: \(figures)"
    case .budgetExhausted: "budget exhausted, the rest not explored: \(figures)"
    case .failed(let failure): "failed: \(figures)\n\(failure)"
    }
  }
}

/// An execution that must not be.
public struct Failure: Error, Sendable, CustomStringConvertible {
  public enum Kind: Sendable, Hashable {
    /// A `check` did not hold.
    case check
    /// Two unordered accesses to plain memory, one of them a write.
    case dataRace
    /// An access to a frame after its free, or a second free.
    case useAfterFree
    /// Threads that are left spin on values that nobody will change.
    case livelock
    /// An execution that goes on and on: a loop without `pause`, or one that feeds itself.
    case stepLimit
    /// A precondition, an overflow or a `fatalError` in the code under test.
    case trap
    /// The same schedule did not do the same twice, or two equal states went on differently.
    case nondeterminism
  }

  public let kind: Kind
  public let message: String
  /// Re-runs exactly this execution: `Checker.replay(_:_:)`.
  public let token: ReplayToken
  /// Switches away from a thread that could go on.
  public let preemptions: Int
  /// One line an event, in the order of execution.
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

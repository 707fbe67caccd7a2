/// Explores a scenario: every schedule of its threads, and every value that the C11 memory model
/// lets a load return.
///
/// ```swift
/// let report = Checker().run { scenario in
///   let flag = ModelWord(0), data = ModelCell(0)
///   scenario.thread("writer") { data.store(1); flag.store(1, .release) }
///   scenario.thread("reader") { if flag.load(.acquire) == 1 { check(data.load() == 1) } }
/// }
/// guard report.isComplete else { fatalError("\(report)") }
/// ```
///
/// In the manner of loom (Rust) and CDSChecker (Norris and Demsky 2013). Executions are cut by
/// sleep sets, a cache of states and quiet locations; none leaves out an outcome.
///
/// - Thread safety: a checker is a value; explorations on several threads are independent.
public struct Checker: Sendable {
  /// How executions are spared.
  public struct Reduction: OptionSet, Sendable {
    public let rawValue: Int
    public init(rawValue: Int) { self.rawValue = rawValue }
    /// Of two steps that commute, one order. Not used with a preemption bound, where it is unsound.
    public static let sleepSets = Reduction(rawValue: 1)
    /// Of two ways to the same state, one continuation. Needs memory: 24 bytes a state.
    public static let stateCache = Reduction(rawValue: 2)
    /// An access to a location that threads do not contend for is no scheduling point.
    public static let quietLocations = Reduction(rawValue: 4)
  }

  public struct Options: Sendable {
    /// At most so many switches away from a thread that could go on; nil for all. The verdict
    /// is then `bounded`, never `complete`. One finds most bugs, two nearly all.
    public var preemptionBound: Int?
    public var reduction: Reduction = [.sleepSets, .stateCache, .quietLocations]
    /// Budgets for the exploration. When one ends, the verdict says so.
    public var maximalExecutions = 50_000_000
    public var maximalDuration = Duration.seconds(60)
    /// Steps in one execution; one that is longer fails as endless.
    public var maximalSteps = 1_000
    /// After a failure, look for one with fewer preemptions, in about the time the first one took.
    public var shortensTrace = true
    /// Whether it is a failure that a thread waits for another that could still run. Without a
    /// scheduler that guarantees progress, that is what a lock-free operation must never do.
    public var forbidsWaiting = false
    /// Whether threads share variables outside of the model, under locks that do not say which
    /// (`ModelLock.guards`). Two ways
    /// to the same words are then the same only if every word was modified in the same order, so
    /// that the cache does not take two orders of two locked sections for one.
    public var locksGuardVariables = false
    /// Whether the report lists the orderings of the code under test.
    public var recordsOrderings = false
    /// Runs the code as if this ordering were weaker.
    public var weakening: Weakening?
    public init() {}
  }

  public var options: Options

  public init(_ options: Options = Options()) { self.options = options }

  public init(preemptionBound: Int?) {
    options = Options()
    options.preemptionBound = preemptionBound
  }

  /// Explores `scenario`, which sets up one execution each time it is called and must do the
  /// same each time.
  public func run(_ scenario: (Scenario) -> Void) -> Report {
    var report = audit(scenario) ?? Explorer(options).explore(scenario)
    guard var failure = report.failure else { return report }
    if options.shortensTrace { failure = shortest(failure, report.duration, scenario) }
    report.verdict = .failed(traced(failure, scenario))
    return report
  }

  /// Runs exactly the execution of the token. Returns how it fails, nil if it does not.
  public func replay(_ token: ReplayToken, _ scenario: (Scenario) -> Void) -> Failure? {
    Explorer(options, replaying: token).replay(scenario)
  }

  /// A few executions with the cache alone: the others leave out the second order of two steps
  /// that commute, and with it the sight of a variable outside the model that makes them not.
  private func audit(_ scenario: (Scenario) -> Void) -> Report? {
    guard options.reduction.contains(.stateCache), options.reduction != .stateCache else {
      return nil
    }
    var options = options
    options.reduction = .stateCache
    options.maximalExecutions = min(options.maximalExecutions, 200)
    let report = Explorer(options).explore(scenario)
    return report.failure?.kind == .nondeterminism ? report : nil
  }

  /// The same failure again, with its trace and both sides of a race.
  private func traced(_ failure: Failure, _ scenario: (Scenario) -> Void) -> Failure {
    guard failure.kind != .nondeterminism else { return failure }
    return replay(failure.token, scenario) ?? failure
  }

  /// Depth-first search finds some failure; bounds from 0 on find one with the fewest
  /// preemptions, which a person can follow.
  private func shortest(
    _ failure: Failure, _ duration: Duration, _ scenario: (Scenario) -> Void
  ) -> Failure {
    guard failure.kind != .nondeterminism, failure.kind != .stepLimit else { return failure }
    var options = options
    options.maximalDuration = max(duration * 2, .milliseconds(500))
    for bound in 0..<failure.preemptions {
      options.preemptionBound = bound
      if let shorter = Explorer(options).explore(scenario).failure, shorter.kind == failure.kind {
        return shorter
      }
    }
    return failure
  }
}

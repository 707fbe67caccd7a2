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
/// The design follows loom (Rust) and CDSChecker (Norris and Demsky 2013). Sleep sets, a cache of
/// states and quiet locations reduce the number of executions. None of them leaves out an outcome.
///
/// - Thread safety: a checker is a value. Explorations on several threads are independent.
public struct Checker: Sendable {
  /// Ways to reduce the number of executions.
  public struct Reduction: OptionSet, Sendable {
    public let rawValue: Int
    public init(rawValue: Int) { self.rawValue = rawValue }
    /// Explores two steps that commute in one order only. Not used with a preemption bound, where
    /// it is unsound.
    public static let sleepSets = Reduction(rawValue: 1)
    /// Explores what follows a state only once, however the state was reached. Takes 24 bytes of
    /// memory for each state.
    public static let stateCache = Reduction(rawValue: 2)
    /// Makes no scheduling point of an access to a location that threads do not contend for.
    public static let quietLocations = Reduction(rawValue: 4)
  }

  /// How to explore, and when to give up.
  public struct Options: Sendable {
    /// The most switches away from a thread that could go on; nil for no bound. With a bound, the
    /// verdict is `bounded` and never `complete`. One preemption finds most bugs, two nearly all.
    public var preemptionBound: Int?
    /// The reductions to use; all of them by default.
    public var reduction: Reduction = [.sleepSets, .stateCache, .quietLocations]
    /// The most executions. If there are more, the verdict is `budgetExhausted`.
    public var maximalExecutions = 50_000_000
    /// The longest time for the exploration. If it takes longer, the verdict is `budgetExhausted`.
    public var maximalDuration = Duration.seconds(60)
    /// The most steps of one execution. A longer execution fails as endless.
    public var maximalSteps = 1_000
    /// Whether, after a failure, to look for one with fewer preemptions. This takes about as long
    /// as it took to find the first.
    public var shortensTrace = true
    /// Whether it is a failure if a thread waits for another that could still run. A lock-free
    /// operation must never do that, since the scheduler may not run the other thread.
    public var forbidsWaiting = false
    /// Whether threads share variables outside of the model, under locks that do not name them
    /// (`ModelLock.guards`). Two states with the same words then count as the same only if every
    /// word was modified in the same order. Otherwise the cache could take two orders of two locked
    /// sections for one.
    public var locksGuardVariables = false
    /// Whether the report lists the orderings of the code under test.
    public var recordsOrderings = false
    /// An ordering of the code under test that is run as if it were weaker.
    public var weakening: Weakening?
    /// The defaults: no bound, all reductions, one minute.
    public init() {}
  }

  /// How this checker explores.
  public var options: Options

  /// A checker with these options.
  public init(_ options: Options = Options()) { self.options = options }

  /// A checker with the default options and a bound on preemptions.
  public init(preemptionBound: Int?) {
    options = Options()
    options.preemptionBound = preemptionBound
  }

  /// Explores `scenario`. The closure is called to set up each execution, and must do the same each
  /// time.
  public func run(_ scenario: (Scenario) -> Void) -> Report {
    var report = audit(scenario) ?? Explorer(options).explore(scenario)
    guard var failure = report.failure else { return report }
    if options.shortensTrace { failure = shortest(failure, report.duration, scenario) }
    report.verdict = .failed(traced(failure, scenario))
    return report
  }

  /// Runs exactly the execution of the token. Returns its failure, or nil if it does not fail.
  public func replay(_ token: ReplayToken, _ scenario: (Scenario) -> Void) -> Failure? {
    Explorer(options, replaying: token).replay(scenario)
  }

  /// Runs a few executions with the cache as the only reduction. The other reductions leave out the
  /// second order of two steps that commute. They would hide a variable outside the model that
  /// makes the steps not commute after all.
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

  /// Reproduces the failure to get its trace, with both sides of a race.
  private func traced(_ failure: Failure, _ scenario: (Scenario) -> Void) -> Failure {
    guard failure.kind != .nondeterminism else { return failure }
    return replay(failure.token, scenario) ?? failure
  }

  /// Looks for a failure with the fewest preemptions, which is the easiest to follow. Depth-first
  /// search finds any failure, so this tries all bounds from 0 on.
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

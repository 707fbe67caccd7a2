import CFiber

/// Runs a scenario again and again, each time along another path through its choices, until no path
/// is left. This is depth-first search by re-execution.
///
/// The threads are fibres on the caller's thread. Before every step that others can notice, a
/// thread stops and says what it will do (`Explorer+Schedule`). Then it takes the step
/// (`Explorer+Steps`). All state belongs to one execution, except that of the search.
final class Explorer {
  struct Choice {
    enum Kind: UInt8 { case thread, value }
    let kind: Kind
    var chosen: UInt8
    /// The alternatives that are still to be tried.
    var rest: UInt64
    /// For a choice of threads: those tried, those asleep on arrival, those that could be chosen.
    var done = ThreadSet()
    var asleep = ThreadSet()
    var candidates = ThreadSet()
    /// For a choice of threads: whether the previous thread could have gone on; preemptions so far.
    var preemptible = false
    var preemptions = 0
    /// A hash of what the threads had seen and were about to do. Another run must have the same.
    var stamp: UInt64 = 0
  }

  struct Thread {
    let name: String
    let body: () -> Void
    var pending = Operation()
    /// A hash of everything that steps returned to it. Together with the code, this determines its
    /// local state.
    var history: UInt64
    var isFinished = false
    /// The number of quiet steps that it took when it started, before it was first chosen.
    var stepsAtStart = 0
    /// The locks that it holds, one bit for each location.
    var held: UInt64 = 0
    /// Whether its last weak compare-and-swap failed spuriously. The next one does not. It follows
    /// from the history.
    var failedSpuriously = false
  }

  let options: Checker.Options
  let usesSleepSets: Bool
  let usesCache: Bool

  // One execution.
  var memory = Memory()
  var plain: PlainMemory
  /// Thread 0 runs the set-up and the final checks.
  var threads: [Thread] = []
  var finalChecks: [() -> Void] = []
  /// Hashes of variables outside of the model, by the lock that guards them.
  var guarded: [Int: () -> UInt64] = [:]
  var threadLocals: [ObjectIdentifier: [Int]] = [:]
  /// How to show the values of a location. Empty unless a failure is traced.
  var formats: [Int: (UInt64) -> String] = [:]
  var fibres = Fibres()
  var running: Int { fibres.running }
  var isStarting = false
  var isSealed = false
  /// Whether the execution goes on only to let the threads finish: it has reached a known state or
  /// the end of a replay, or it is outdated.
  var isCoasting = false
  /// Whether a location turned out to be in too good a class. This execution is then discarded, and
  /// the exploration begins again.
  var isOutdated = false
  var steps = 0
  /// The choices of this execution for a token, until it coasts.
  var taken: [UInt8] = []
  var previous = 0
  var preemptions = 0
  var asleep = ThreadSet()
  var position = 0
  /// A number that distinguishes the words of this execution from those of others.
  private(set) var execution: UInt64 = 0
  /// Who makes and uses words now: this execution, or a recovery in it.
  var owner: UInt64 = 0

  // The search.
  var path: [Choice] = []
  var cache = StateCache()
  var contention: Contention
  /// The locks that a thread has tried, in all executions so far, one bit for each location.
  var tried: UInt64 = 0
  var codes = Codes()
  var crash = CrashSearch()
  var pruned = 0
  var failure: Failure?

  /// The orderings in the code under test, if the options ask for them.
  var orderings: Set<Ordering> = []

  // A replay.
  let replayed: [UInt8]?
  var trace: [String] = []
  var isTracing: Bool { replayed != nil }

  init(_ options: Checker.Options, replaying token: ReplayToken? = nil) {
    self.options = options
    // With a bound, a step that was put to sleep might not be reached in any other execution.
    usesSleepSets = options.reduction.contains(.sleepSets) && options.preemptionBound == nil
    usesCache = options.reduction.contains(.stateCache)
    replayed = token?.choices
    // A token names every step, so a replay need not know which locations were contended.
    contention = Contention(isUsed: options.reduction.contains(.quietLocations) && token == nil)
    plain = PlainMemory(recordsSites: token != nil)
  }

  static var current: Explorer {
    guard let explorer = currentIfAny else {
      fatalError("Interleave: model words and cells exist only inside Checker.run")
    }
    return explorer
  }

  static var currentIfAny: Explorer? {
    // SAFETY: `withCurrent` keeps the explorer alive for as long as it is current.
    unsafe il_current().map { unsafe Unmanaged<Explorer>.fromOpaque($0).takeUnretainedValue() }
  }

  private func withCurrent(_ body: () -> Void) {
    let outer = unsafe il_current()
    unsafe il_set_current(Unmanaged.passUnretained(self).toOpaque())
    defer { unsafe il_set_current(outer) }
    il_catch_traps {
      let explorer = Explorer.current
      if explorer.running != 0 {
        explorer.fail(.trap, "trap: a precondition or an overflow; its message is on stderr")
      }
    }
    withExtendedLifetime(self) { body() }
  }

  // MARK: The search

  func explore(_ scenario: (Scenario) -> Void) -> Report {
    let start = ContinuousClock.now
    var report = Report(verdict: .budgetExhausted)
    withCurrent {
      while true {
        run(scenario)
        report.executions += 1
        if isOutdated {
          beginAgain()
        } else if let failure {
          report.verdict = .failed(failure)
          break
        } else if !advance() {
          report.verdict = options.preemptionBound.map { .bounded(preemptions: $0) } ?? .complete
          break
        }
        if report.executions >= options.maximalExecutions { break }
        if report.executions & 63 == 0, ContinuousClock.now - start > options.maximalDuration {
          break
        }
      }
    }
    fibres.freeStacks()
    report.pruned = pruned
    report.orderings = orderings
    report.states = cache.count
    report.crashes = crash.seen.count
    report.duration = ContinuousClock.now - start
    return report
  }

  /// Runs one execution along the token and then without switches. Returns nil if nothing fails.
  func replay(_ scenario: (Scenario) -> Void) -> Failure? {
    withCurrent { run(scenario) }
    fibres.freeStacks()
    failure?.trace = trace
    return failure
  }

  /// Begins the exploration again after a location moved to a worse class.
  private func beginAgain() {
    failure = nil
    path.removeAll(keepingCapacity: true)
    cache = StateCache()
    crash.seen.removeAll(keepingCapacity: true)
    pruned = 0
  }

  /// Moves to the next path: changes the deepest choice that has an alternative left. Returns false
  /// if there is none.
  private func advance() -> Bool {
    while var choice = path.popLast() {
      if choice.kind == .thread { choice.done.insert(Int(choice.chosen)) }
      if choice.rest != 0 {
        choice.chosen = UInt8(choice.rest.trailingZeroBitCount)
        choice.rest &= choice.rest - 1
        path.append(choice)
        return true
      }
    }
    return false
  }

  // MARK: One execution

  private func run(_ scenario: (Scenario) -> Void) {
    reset()
    scenario(Scenario(self))
    isSealed = true
    if failure == nil { verifyCrashes() }
    if failure == nil { start() }
    if failure == nil { switchTo(nextThread()) }
    recoverFromCrashes()
    if failure == nil && !crash.hasCrashed {
      memory.joinThreads(threads.count)
      for check in finalChecks { check() }
    }
    for thread in threads.indices.dropFirst() where !threads[thread].isFinished {
      fibres.abandon(thread)
    }
    endScenario()
  }

  /// Releases the scenario's objects before the next execution makes its own. Their deinitializers
  /// may use the model, so the main thread stays. After a failure the objects are kept for ever,
  /// because a thread was stopped in the middle of using them.
  private func endScenario() {
    let objects = (threads, finalChecks, guarded, crash.recover)
    threads = [threads[0]]
    finalChecks.removeAll()
    guarded.removeAll()
    crash.recover = nil
    if failure != nil || crash.hasCrashed {
      _ = unsafe Unmanaged.passRetained(Kept(objects: objects))
    }
  }

  private final class Kept {
    let objects: Any
    init(objects: Any) { self.objects = objects }
  }

  private func reset() {
    memory.reset()
    plain.reset()
    contention.reset()
    crash.reset()
    threadLocals.removeAll(keepingCapacity: true)
    formats.removeAll(keepingCapacity: true)
    codes.forgetAddresses()
    threads = [Thread(name: "main", body: {}, history: 0)]
    isSealed = false
    isCoasting = false
    isOutdated = false
    steps = 0
    taken.removeAll(keepingCapacity: true)
    previous = 0
    preemptions = 0
    asleep = ThreadSet()
    position = 0
    execution &+= 1
    owner = execution
  }

  /// Runs every thread up to its first step.
  private func start() {
    memory.startThreads(threads.count)
    isStarting = true
    for thread in threads.indices.dropFirst() {
      fibres.prepare(thread) {
        Explorer.current.runThread()
        fatalError("Interleave: a finished fibre was resumed")
      }
      switchTo(thread)
      if failure != nil { break }
    }
    isStarting = false
  }

  private func runThread() {
    threads[running].body()
    threads[running].isFinished = true
    switchTo(isStarting ? 0 : nextThread())
  }

  func switchTo(_ thread: Int) {
    guard thread != running else { return }
    let change = fibres.beginSwitch(to: thread)
    change()
  }

  /// Ends the execution as failed. If a thread of the scenario calls this, it does not return.
  func fail(_ kind: Failure.Kind, _ message: String) {
    if failure == nil {
      takeStart(running)
      failure = Failure(
        kind: kind, message: message,
        token: ReplayToken(
          choices: replayed ?? (crash.isRecovering ? crash.taken : taken) + crash.token),
        preemptions: preemptions)
      if isTracing { trace.append("FAILED: \(message)") }
    }
    if running != 0 { switchTo(0) }
  }
}

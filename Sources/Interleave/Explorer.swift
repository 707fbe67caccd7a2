import CFiber

/// Runs a scenario again and again, each time by another path through its choices, until there
/// is none left: depth-first search by re-execution.
///
/// The threads are fibres on the caller's thread. Each stops before every step that others can
/// notice, and tells what it will do (`Explorer+Schedule`); then it takes the step
/// (`Explorer+Steps`). All state is that of one execution, except `path` and `cache`.
final class Explorer {
  struct Choice {
    enum Kind: UInt8 { case thread, value }
    let kind: Kind
    var chosen: UInt8
    /// Still to be tried.
    var rest: UInt64
    /// Of threads: tried, asleep on arrival, free to be chosen.
    var done = ThreadSet()
    var asleep = ThreadSet()
    var candidates = ThreadSet()
    /// Of threads: who could have gone on without a switch or gave up its turn; the bound so far.
    var preemptible = false
    var preemptions = 0
    /// What the chosen thread had seen and was about to do: another run must agree.
    var stamp: UInt64 = 0
  }

  struct Thread {
    let name: String
    let body: () -> Void
    var pending = Operation()
    /// A hash of all that steps returned to it: with the code, that is its local state.
    var history: UInt64
    var isFinished = false
    /// Quiet steps that it took when it started, before it was ever chosen.
    var stepsAtStart = 0
    /// The locks it holds, a bit a location.
    var held: UInt64 = 0
  }

  let options: Checker.Options
  let usesSleepSets: Bool
  let usesCache: Bool

  // One execution.
  var memory = Memory()
  var plain: PlainMemory
  /// Number 0 sets up and checks the end.
  var threads: [Thread] = []
  var finalChecks: [() -> Void] = []
  /// Variables outside of the model, by the lock that guards them.
  var guarded: [Int: () -> UInt64] = [:]
  var threadLocals: [ObjectIdentifier: [Int]] = [:]
  var fibres = Fibres()
  var running: Int { fibres.running }
  var isStarting = false
  var isSealed = false
  /// Past a known state or the end of a replay, or outdated: only to let the threads finish.
  var isCoasting = false
  /// The location of a step that was taken for quiet is contended: this execution says nothing,
  /// and the exploration begins again.
  var isOutdated = false
  var steps = 0
  /// What a token says of this execution, until it coasts.
  var taken: [UInt8] = []
  var previous = 0
  var preemptions = 0
  var asleep = ThreadSet()
  var position = 0
  /// Tells words of this execution from those of others.
  private(set) var execution: UInt64 = 0

  // The search.
  var path: [Choice] = []
  var cache = StateCache()
  var contention: Contention
  var pruned = 0
  var failure: Failure?

  /// The orderings that were met, if they are asked for.
  var orderings: Set<Ordering> = []

  // A replay.
  let replayed: [UInt8]?
  var trace: [String] = []
  var isTracing: Bool { replayed != nil }

  init(_ options: Checker.Options, replaying token: ReplayToken? = nil) {
    self.options = options
    // A step that slept may be one that the bound does not reach elsewhere.
    usesSleepSets = options.reduction.contains(.sleepSets) && options.preemptionBound == nil
    usesCache = options.reduction.contains(.stateCache)
    replayed = token?.choices
    // A token names every step, so that it holds without knowing what was contended.
    contention = Contention(isUsed: options.reduction.contains(.quietLocations) && token == nil)
    plain = PlainMemory(recordsSites: token != nil)
  }

  static var current: Explorer {
    guard let explorer = unsafe il_current() else {
      fatalError("Interleave: model words and cells exist only inside Checker.run")
    }
    // SAFETY: `withCurrent` keeps it alive for as long as it is current.
    return unsafe Unmanaged<Explorer>.fromOpaque(explorer).takeUnretainedValue()
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
    report.pruned = pruned
    report.orderings = orderings
    report.states = cache.count
    report.duration = ContinuousClock.now - start
    return report
  }

  /// One execution, by the token and then straight on; nil if nothing fails.
  func replay(_ scenario: (Scenario) -> Void) -> Failure? {
    withCurrent { run(scenario) }
    failure?.trace = trace
    return failure
  }

  /// After more locations turned out to be contended.
  private func beginAgain() {
    failure = nil
    path.removeAll(keepingCapacity: true)
    cache = StateCache()
    pruned = 0
  }

  /// To the next path: the deepest choice with something left to try. False if there is none.
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
    start()
    if failure == nil { switchTo(nextThread()) }
    if failure == nil {
      memory.joinThreads(threads.count)
      for check in finalChecks { check() }
    }
    for thread in threads.indices.dropFirst() where !threads[thread].isFinished {
      fibres.abandon(thread)
    }
    endScenario()
  }

  /// The scenario's objects go before the next execution makes its own, while there is a main thread
  /// for what their ends do to the model. After a failure they stay: a thread was left in the middle
  /// of what it did to them.
  private func endScenario() {
    let objects = (threads, finalChecks, guarded)
    threads = [threads[0]]
    finalChecks.removeAll()
    guarded.removeAll()
    if failure != nil { _ = unsafe Unmanaged.passRetained(Kept(objects: objects)) }
  }

  private final class Kept {
    let objects: Any
    init(objects: Any) { self.objects = objects }
  }

  private func reset() {
    memory.reset()
    plain.reset()
    contention.reset()
    threadLocals.removeAll(keepingCapacity: true)
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
  }

  /// Takes every thread to its first step.
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

  /// Ends the execution. On a thread of the scenario it does not return.
  func fail(_ kind: Failure.Kind, _ message: String) {
    if failure == nil {
      takeStart(running)
      failure = Failure(
        kind: kind, message: message, token: ReplayToken(choices: replayed ?? taken),
        preemptions: preemptions)
      if isTracing { trace.append("FAILED: \(message)") }
    }
    if running != 0 { switchTo(0) }
  }
}

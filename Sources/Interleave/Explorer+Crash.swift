/// Explores crashes: finds every contents of surviving memory that a crash can leave, and lets
/// recovery run on each, once.
///
/// A crash is no step of the search. At each new state the search stops for a moment, recovery runs
/// on a copy of the memory, and the search goes on. No thread has to be abandoned for that.
///
/// Why no contents are missed:
/// - Each store to surviving memory is a step of its own, or is in its thread's `UndoLog`. So is a
///   write to surviving plain memory, and a release that makes such a write certain (`isKept`). So
///   a crash between any two of them is looked at: in the state there, or by taking stores back.
/// - Sleep sets leave out steps, but no states (Godefroid 1996, chapter 5), and the cache only
///   leaves out states that were reached before. A state's hash covers all surviving memory, and
///   which of its plain writes may still be missing.
/// - A quiet access is fused with its thread's previous step. An execution that stops between the
///   two has the same surviving memory as the one that stops after both.
///
/// `CrashDifferentialTests` compares the results with all prefixes of all interleavings.
extension Explorer {
  /// What a crash leaves: the memory of the next process.
  struct Remains {
    let memory: Memory
    let plain: PlainMemory
    /// Says which crash it was (`Explorer+CrashReplay`): the steps before it, and what is left.
    let steps: [UInt8]
    let token: [UInt8]
  }

  struct CrashSearch {
    // Of the scenario.
    /// Recovery and its checks. Nil if the scenario has no crashes.
    var recover: (() -> Void)?
    /// The words that survive, one bit for each location.
    var words: UInt64 = 0
    /// Whether what the set-up makes now survives.
    var isMarking = false

    // Of one execution.
    var logs = [UndoLog](repeating: UndoLog(), count: View.threads)
    /// For each thread, where in its log a crash stops it; nil for the end.
    var stops = [Int?](repeating: nil, count: View.threads)
    /// What is still to be recovered from, the next one last.
    var found: [Remains] = []
    /// The thread that the search stopped in meanwhile.
    var interrupted: Int?
    /// Whether a replay has come to its crash.
    var hasCrashed = false

    // Of one recovery.
    var isRecovering = false
    /// Whether recovery is over, and the checks run.
    var hasRecovered = false
    /// The words that recovery has made, and its first cell.
    var own: [OwnWord] = []
    var firstOwnCell = 0
    var steps = 0
    /// Its stores to surviving memory.
    var stores = 0
    /// In a replay: the number of stores after which recovery is killed, and what that left.
    var killedAfter: Int?
    var next: Remains?
    /// The token up to the crash, and from there.
    var taken: [UInt8] = []
    var token: [UInt8] = []

    // Of the search.
    /// Hashes of the contents that recovery has run on.
    var seen: Set<UInt64> = []
    /// The number of the last recovery. Words remember who made them.
    var process: UInt64 = 1 << 63

    var isOn: Bool { recover != nil }

    mutating func reset() {
      recover = nil
      words = 0
      isMarking = false
      for thread in logs.indices { logs[thread].removeAll() }
      found.removeAll()
      interrupted = nil
      hasCrashed = false
      endRecovery()
    }

    mutating func endRecovery() {
      isRecovering = false
      hasRecovered = false
      own.removeAll(keepingCapacity: true)
      steps = 0
      stores = 0
      token = []
    }
  }

  func survives(word location: Int) -> Bool { crash.words >> UInt64(location) & 1 != 0 }

  /// Finds mistakes in how the scenario uses crashes.
  func verifyCrashes() {
    guard crash.isOn else { return }
    if crash.words == 0 && !plain.cells.contains(where: \.survives) {
      fail(
        .misuse,
        "afterCrash, but nothing survives: make the memory that does in `surviving { … }`")
    }
    if threads.count >= View.threads {
      fail(.misuse, "more than \(View.threads - 2) threads: afterCrash needs one for recovery")
    }
  }

  /// Whether the step changes what a crash leaves. Then it is a step of its own, or is logged.
  func isKept(_ operation: Operation) -> Bool {
    guard crash.isOn else { return false }
    if operation.isRelease && isReleaseKept { return true }
    return switch operation.kind {
    case .store, .modify, .compareExchange: survives(word: operation.object)
    case .heap: plain.heaps[operation.object].survives
    case .cell, .unlock: true
    default: false
    }
  }

  /// Whether a release by the running thread matters, since it makes plain writes certain.
  var isReleaseKept: Bool {
    guard crash.isOn, running != 0, !crash.isRecovering else { return false }
    return plain.cells.indices.contains {
      plain.cells[$0].survives && plain.cells[$0].writer == running
        && !plain.isSettled($0, memory.threads)
    }
  }

  /// Whether a write to the cell changes what a crash leaves.
  func isKept(cell: Int) -> Bool { crash.isOn && running != 0 && plain.cells[cell].survives }

  // MARK: Contents

  /// Called at every new state. Lets recovery run on all contents that a crash leaves here and that
  /// it has not run on.
  func lookAtCrash() {
    guard crash.isOn, replayed == nil else { return }
    findRemains(token: [0])
    guard !crash.found.isEmpty, failure == nil else { return }
    guard running != 0 else { return recoverFromCrashes() }
    crash.interrupted = running
    switchTo(0)
  }

  /// Adds to `found` the contents that are new. There are several if stores can be taken back, or if
  /// plain writes may be missing: all combinations, by number. In combination 0 nothing is missing.
  private func findRemains(token: [UInt8]) {
    var found: [Remains] = []
    withStoresTakenBack {
      let count = combinations
      guard count < 1 << 12 else {
        return fail(.misuse, "too many plain writes without a release: \(count) combinations")
      }
      for combination in 0..<count where crash.seen.insert(hash(of: combination)).inserted {
        found.append(remains(combination, token: token + Self.digits(combination)))
      }
    }
    crash.found += found.reversed()
  }

  private var combinations: Int {
    plain.cells.indices.reduce(1) { count, cell in
      guard plain.cells[cell].survives else { return count }
      return min(count * plain.values(cell, memory.threads).count, 1 << 20)
    }
  }

  /// Calls `body` with each surviving cell and the value that it has in a combination.
  private func withCells(_ combination: Int, _ body: (Int, UInt64) -> Void) {
    var rest = combination
    for cell in plain.cells.indices where plain.cells[cell].survives {
      let values = plain.values(cell, memory.threads)
      body(cell, values[rest % values.count])
      rest /= values.count
    }
  }

  private func hash(of combination: Int) -> UInt64 {
    var hash: UInt64 = 1
    for location in memory.locations.indices where survives(word: location) {
      hash = mix(hash, memory.store(location, age: 0).value)
    }
    withCells(combination) { hash = mix(mix(hash, UInt64($0)), $1) }
    return hash
  }

  func remains(_ combination: Int, token: [UInt8]) -> Remains {
    var left = plain
    withCells(combination) { cell, value in
      let isFrame = plain.heaps.contains {
        $0.first <= cell && cell < $0.first + $0.capacity
      }
      left.leave(cell, holding: value, isFrame: isFrame)
      if isTracing && value != plain.cells[cell].value { noteMissing(cell, value) }
    }
    return Remains(
      memory: memory, plain: left, steps: crash.isRecovering ? crash.taken : takenUntilCrash,
      token: token)
  }

  // MARK: Recovery

  /// Lets recovery run on what was found, and then the search go on. Called by the main thread.
  func recoverFromCrashes() {
    if crash.hasCrashed && failure == nil { replayCrash() }
    while failure == nil {
      if let remains = crash.found.popLast() {
        recover(from: remains)
      } else if let thread = crash.interrupted {
        crash.interrupted = nil
        switchTo(thread)
      } else {
        return
      }
    }
  }

  /// Runs recovery as one more thread, in memory of its own, and then restores everything.
  func recover(from remains: Remains) {
    let saved = (memory, plain, threadLocals, guarded, codes)
    let number = threads.count
    memory = remains.memory
    plain = remains.plain
    memory.restart(number)
    guarded = [:]
    threads.append(Thread(name: "recovery", body: crash.recover!, history: UInt64(number)))
    crash.isRecovering = true
    crash.firstOwnCell = plain.cells.count
    crash.taken = remains.steps
    crash.token = remains.token
    crash.next = nil
    crash.process += 1
    owner = crash.process
    fibres.prepare(number) {
      Explorer.current.runRecovery()
      fatalError("Interleave: a finished fibre was resumed")
    }
    switchTo(number)
    owner = execution
    if failure != nil || crash.next != nil { fibres.abandon(number) }
    crash.endRecovery()
    threads.removeLast()
    (memory, plain, threadLocals, guarded, codes) = saved
  }

  private func runRecovery() {
    threads[running].body()
    switchTo(0)
  }

  /// Called by recovery before each step. Until it is over, it may be killed here.
  func passInRecovery(_ operation: Operation) {
    crash.steps += 1
    guard crash.steps <= options.maximalSteps else {
      return fail(.stepLimit, "recovery does not end: no end after \(options.maximalSteps) steps")
    }
    guard isKept(operation), !crash.hasRecovered else { return }
    lookAtKill()
    crash.stores += 1
  }

  /// Called when recovery is over. It may be killed after its last store, too.
  func endRecovery() {
    lookAtKill()
    crash.hasRecovered = true
  }

  private func lookAtKill() {
    if replayed != nil { return replayKill() }
    findRemains(token: crash.token + Self.digits(crash.stores))
  }

  // MARK: What recovery uses

  /// Fails if recovery uses what did not survive. `maker` is who made the object.
  func verify(
    _ maker: UInt64, _ what: String, _ site: Site?, survives: @autoclosure () -> Bool = false
  ) {
    guard maker != owner else { return }
    let place = site.map { ", at \($0.description)" } ?? ""
    guard crash.isRecovering && maker == execution else {
      return fail(
        .nondeterminism,
        "\(what) of another execution\(place): make it in the scenario's closure, not in a global "
          + "variable or outside")
    }
    if survives() { return }
    fail(
      .lostMemory,
      "recovery uses \(what) of the process that was killed\(place): make it in `surviving { … }` "
        + "if it lies in memory that survives, or let recovery make its own")
  }

  func verifyCell(_ cell: Int, _ what: String, _ site: Site) {
    guard crash.isRecovering, cell < crash.firstOwnCell, !plain.cells[cell].survives else {
      return
    }
    verify(execution, plain.cells[cell].name, site)
  }

  func claim(_ heap: Int, _ frame: Int, _ site: Site) -> Bool {
    guard crash.isRecovering else {
      fail(.misuse, "claim outside of afterCrash, at \(site.description)")
      return false
    }
    let cell = cell(heap, frame, "claim", site)
    verifyCell(cell, "claim", site)
    if isTracing { note(site, "claim frame \(frame)") }
    return plain.claim(cell)
  }
}

/// Chooses the next thread, and which of several values a step returns.
extension Explorer {
  /// Called by a thread before each step that others can notice. Returns when it is the thread's
  /// turn.
  @inline(__always)
  func schedule(_ operation: Operation) {
    let thread = running
    if thread == 0 { return }
    if crash.isRecovering { return passInRecovery(operation) }
    switch contention.note(operation, by: thread, &memory.threads[thread].view) {
    case .quiet where !isKept(operation): return passQuietly(thread, operation)
    case .quiet where keepsUndoLog && operation.kind != .heap:
      log(operation)
      return passQuietly(thread, operation)
    case .quiet, .visible: break
    case .outdated: becomeOutdated()
    }
    threads[thread].pending = operation
    switchTo(isStarting ? 0 : nextThread())
    memory.beginStep(thread)
    crash.logs[thread].removeAll()
  }

  func becomeOutdated() {
    isOutdated = true
    isCoasting = true
  }

  /// Whether the thread waits for a lock or for news.
  private func isWaiting(_ thread: Int) -> Bool {
    switch threads[thread].pending.kind {
    case .lock: return isTaken(threads[thread].pending.object)
    case .pause:
      guard memory.mayProgress(thread) else { return true }
      for word in memory.news(for: thread) where contention.makeVisible(word: word) {
        becomeOutdated()
      }
      return false
    default: return false
    }
  }

  /// Takes a quiet step, right after the thread's previous step. It can return only one value.
  func passQuietly(_ thread: Int, _ operation: Operation) {
    guard countStep() else { return }
    if isStarting {
      threads[thread].stepsAtStart += 1
    } else if !isCoasting {
      taken.append(UInt8(thread))
      crash.logs[thread].end = taken.count
    }
    precondition(
      isOutdated || ![.load, .store, .modify, .compareExchange].contains(operation.kind)
        || memory.readable(operation.object, by: thread, .relaxed) == 1,
      "Interleave: a quiet location has two values")
  }

  /// Records the quiet steps at the start of a thread when the thread is first chosen. They commute
  /// with everything that others did before, so a trace shows them here.
  func takeStart(_ thread: Int) {
    guard !isCoasting, threads[thread].stepsAtStart > 0 else { return }
    taken.append(
      contentsOf: repeatElement(UInt8(thread), count: threads[thread].stepsAtStart))
    threads[thread].stepsAtStart = 0
  }

  private func countStep() -> Bool {
    steps += 1
    guard steps > options.maximalSteps else { return true }
    fail(
      .stepLimit, "no end after \(steps - 1) steps: a loop without pause, or one that feeds itself")
    return false
  }

  /// The thread to run; 0 if all have finished or the execution failed.
  func nextThread() -> Int {
    if failure != nil || isCrashReplayed() { return 0 }
    var enabled = ThreadSet()
    var waiting = ThreadSet()
    for thread in 1..<threads.count where !threads[thread].isFinished {
      if isWaiting(thread) {
        waiting.insert(thread)
      } else {
        enabled.insert(thread)
      }
    }
    if enabled.isEmpty || options.forbidsWaiting && !waiting.isEmpty {
      if !waiting.isEmpty {
        let names = waiting.map { threads[$0].name }.joined(separator: ", ")
        fail(
          .livelock,
          enabled.isEmpty
            ? "livelock: nobody will change what these threads wait for: \(names)"
            : "not lock-free: these threads wait for another, which may be descheduled: \(names)")
      } else if !isCoasting {
        lookAtCrash()
      }
      return 0
    }
    guard countStep() else { return 0 }
    let preemptible = enabled.contains(previous) && threads[previous].pending.kind != .pause
    if let replayed { return replayThread(replayed, enabled, preemptible) }
    if isCoasting { return take(straightOn(enabled), preemptible) }
    let thread =
      position < path.count ? retrace(preemptible) : choose(enabled, preemptible)
    if thread != 0 && !isCoasting {
      takeStart(thread)
      taken.append(UInt8(thread))
    }
    return thread
  }

  /// The previous thread if it can go on, otherwise the first that can.
  private func straightOn(_ enabled: ThreadSet) -> Int {
    enabled.contains(previous) ? previous : enabled.first
  }

  private func take(_ thread: Int, _ preemptible: Bool) -> Int {
    if preemptible && thread != previous { preemptions += 1 }
    previous = thread
    return thread
  }

  /// Repeats a choice of an earlier execution.
  private func retrace(_ preemptible: Bool) -> Int {
    let choice = path[position]
    let thread = Int(choice.chosen)
    position += 1
    guard choice.kind == .thread, thread < threads.count, !threads[thread].isFinished,
      choice.stamp == 0 || choice.stamp == stamp
    else {
      fail(
        .nondeterminism,
        "the same schedule went differently: the scenario depends on something outside the model")
      return 0
    }
    sleepAfter(choice, thread)
    return take(thread, preemptible)
  }

  /// A hash of what each unfinished thread has seen and is about to do.
  private var stamp: UInt64 {
    var stamp: UInt64 = 1
    for thread in 1..<threads.count where !threads[thread].isFinished {
      stamp = mix(stamp, mix(threads[thread].history, threads[thread].pending.hash))
    }
    return stamp | 1
  }

  /// Makes a choice that was not made before.
  private func choose(_ enabled: ThreadSet, _ preemptible: Bool) -> Int {
    var asleep = usesSleepSets ? asleep.intersection(enabled) : ThreadSet()
    var awake = enabled
    if usesCache {
      var hash = stateHash()
      // With a bound, the state includes how many preemptions are left and who could go on.
      if options.preemptionBound != nil { hash = mix(hash, UInt64(preemptions << 8 | previous)) }
      switch cache.visit(hash, asleep: asleep, next: UInt32(truncatingIfNeeded: stamp >> 8)) {
      case .new: lookAtCrash()
      case .covered: return prune(enabled, preemptible)
      case .partly(let still, let woken):
        asleep = still
        awake = woken
      case .contradiction:
        fail(
          .nondeterminism,
          "two equal states went on differently: threads share something outside the model")
        return 0
      }
    } else {
      lookAtCrash()
    }
    if failure != nil { return 0 }
    var candidates = awake.subtracting(asleep)
    if let bound = options.preemptionBound, preemptible, preemptions >= bound {
      candidates = candidates.intersection(ThreadSet(previous))
    }
    if candidates.isEmpty { return prune(enabled, preemptible) }
    let thread = straightOn(candidates)
    var rest = candidates
    rest.remove(thread)
    let choice = Choice(
      kind: .thread, chosen: UInt8(thread), rest: UInt64(rest.bits), asleep: asleep,
      candidates: candidates, stamp: stamp)
    path.append(choice)
    position += 1
    sleepAfter(choice, thread)
    return take(thread, preemptible)
  }

  /// Puts to sleep the threads whose next step commutes with the one taken, and was or will be
  /// explored before it.
  private func sleepAfter(_ choice: Choice, _ thread: Int) {
    guard usesSleepSets else { return }
    var sleeping = choice.asleep.union(choice.done)
    sleeping.remove(thread)
    asleep = ThreadSet()
    for other in sleeping
    where !threads[other].pending.depends(on: threads[thread].pending, of: thread, by: other) {
      asleep.insert(other)
    }
  }

  private func prune(_ enabled: ThreadSet, _ preemptible: Bool) -> Int {
    pruned += 1
    isCoasting = true
    return take(straightOn(enabled), preemptible)
  }

  private func replayThread(
    _ choices: [UInt8], _ enabled: ThreadSet, _ preemptible: Bool
  ) -> Int {
    guard position < choices.count else {
      isCoasting = true
      return take(straightOn(enabled), preemptible)
    }
    let thread = Int(choices[position])
    position += 1
    guard enabled.contains(thread) else {
      fail(.nondeterminism, "the token is not of this scenario, or the scenario varies")
      return 0
    }
    return take(thread, preemptible)
  }

  /// Chooses one of `count` values; 0 is the newest.
  @inline(__always)
  func chooseValue(_ count: Int) -> Int {
    count <= 1 || running == 0 || isCoasting || crash.isRecovering ? 0 : chooseAmong(count)
  }

  private func chooseAmong(_ count: Int) -> Int {
    defer { position += 1 }
    if let replayed {
      return position < replayed.count ? min(Int(replayed[position]), count - 1) : 0
    }
    if position < path.count {
      taken.append(path[position].chosen)
      return Int(path[position].chosen)
    }
    taken.append(0)
    precondition(count <= 64, "Interleave: a load with more than 64 values; use fewer stores")
    path.append(Choice(kind: .value, chosen: 0, rest: (~0 >> (64 - UInt64(count))) & ~1))
    return 0
  }

  // MARK: The state

  private func stateHash() -> UInt64 {
    var running = ThreadSet()
    for thread in 1..<threads.count where !threads[thread].isFinished { running.insert(thread) }
    let state = StateHash(
      memory, plain, contention, running: running, threadCount: threads.count,
      hasCrashes: crash.isOn)
    var hash = state.ofMemory
    // Summed, because the dictionary has no fixed order.
    for (lock, variables) in guarded { hash &+= mix(UInt64(lock), variables()) }
    for thread in 1..<threads.count {
      hash = mix(hash, threads[thread].history)
      if !crash.logs[thread].isEmpty { hash = mix(hash, crash.logs[thread].hash(memory)) }
      if running.contains(thread) { hash = mix(hash, state.hash(thread)) }
    }
    return hash
  }
}

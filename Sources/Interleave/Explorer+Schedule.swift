/// Who goes next, and which of several values a step returns.
extension Explorer {
  /// Called by a thread before each step that others can notice. Returns when it is its turn.
  @inline(__always)
  func schedule(_ operation: Operation) {
    let thread = running
    if thread == 0 { return }
    threads[thread].pending = operation
    if isStarting { return switchTo(0) }
    switchTo(nextThread())
  }

  /// The thread to run; 0 when all are finished or the execution failed.
  func nextThread() -> Int {
    if failure != nil { return 0 }
    var enabled = ThreadSet()
    var waiting = ThreadSet()
    for thread in 1..<threads.count where !threads[thread].isFinished {
      if threads[thread].pending.kind == .pause && !memory.mayProgress(thread) {
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
      }
      return 0
    }
    steps += 1
    if steps > options.maximalSteps {
      fail(.stepLimit, "\(steps - 1) steps and no end: a loop without pause, or that feeds itself")
      return 0
    }
    let preemptible = enabled.contains(previous) && threads[previous].pending.kind != .pause
    if let replayed { return replayThread(replayed, enabled, preemptible) }
    if isCoasting { return take(straightOn(enabled), preemptible) }
    if position < path.count { return retrace(preemptible) }
    return choose(enabled, preemptible)
  }

  /// The running thread, or the first that can run.
  private func straightOn(_ enabled: ThreadSet) -> Int {
    enabled.contains(previous) ? previous : enabled.first
  }

  private func take(_ thread: Int, _ preemptible: Bool) -> Int {
    if preemptible && thread != previous { preemptions += 1 }
    previous = thread
    return thread
  }

  /// A choice that an earlier execution made.
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

  /// What the threads that could be chosen had seen and were about to do.
  private var stamp: UInt64 {
    var stamp: UInt64 = 1
    for thread in 1..<threads.count where !threads[thread].isFinished {
      stamp = mix(stamp, mix(threads[thread].history, threads[thread].pending.hash))
    }
    return stamp | 1
  }

  /// A choice that was not made before.
  private func choose(_ enabled: ThreadSet, _ preemptible: Bool) -> Int {
    var asleep = usesSleepSets ? asleep.intersection(enabled) : ThreadSet()
    var awake = enabled
    if usesCache {
      var hash = stateHash()
      // With a bound, a state is also how it may go on.
      if options.preemptionBound != nil { hash = mix(hash, UInt64(preemptions << 8 | previous)) }
      switch cache.visit(hash, asleep: asleep, next: UInt32(truncatingIfNeeded: stamp >> 8)) {
      case .new: break
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
    }
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

  /// Threads whose step commutes with the one taken, and was or will be explored before it.
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

  /// One of `count` values; 0 is the newest.
  @inline(__always)
  func chooseValue(_ count: Int) -> Int {
    count <= 1 || running == 0 || isCoasting ? 0 : chooseAmong(count)
  }

  private func chooseAmong(_ count: Int) -> Int {
    defer { position += 1 }
    if let replayed {
      return position < replayed.count ? min(Int(replayed[position]), count - 1) : 0
    }
    if position < path.count { return Int(path[position].chosen) }
    precondition(count <= 64, "Interleave: a load with more than 64 values; use fewer stores")
    path.append(Choice(kind: .value, chosen: 0, rest: (~0 >> (64 - UInt64(count))) & ~1))
    return 0
  }

  // MARK: The state

  private func stateHash() -> UInt64 {
    var running = ThreadSet()
    for thread in 1..<threads.count where !threads[thread].isFinished { running.insert(thread) }
    let state = StateHash(memory, plain, running: running, threadCount: threads.count)
    var hash = state.ofMemory
    for thread in 1..<threads.count {
      hash = mix(hash, threads[thread].history)
      if running.contains(thread) { hash = mix(hash, state.hash(memory.threads[thread])) }
    }
    return hash
  }
}

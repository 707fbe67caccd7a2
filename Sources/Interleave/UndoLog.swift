/// What a thread did to surviving memory since its last step that others can notice: quiet stores,
/// plain writes and releases. A crash can come before each of them.
///
/// None of them is a step of its own. Nobody else notices them, so in every execution the thread could
/// have stopped before one of them, while the others did what they did. What that crash leaves is found
/// by taking back the thread's last stores (`Explorer.withStoresTakenBack`). An unlock lets others go
/// on, so it is a step if the log is not empty, and begins a new one.
///
/// A state's hash covers the logs, with the values that are gone. So equal states leave the same.
struct UndoLog {
  enum Change {
    /// A location's newest store and its number before the change.
    case word(Int, newest: Int, number: Int)
    /// What a plain cell held before.
    case cell(Int, PlainMemory.Contents)
    /// The clock of the thread's last release before.
    case release(Int)
  }

  private(set) var changes: [(change: Change, position: Int)] = []
  /// Where the thread's quiet steps end in the token.
  var end = 0

  var isEmpty: Bool { changes.isEmpty }

  /// `position` is that of the step in the token.
  mutating func append(_ change: Change, at position: Int) {
    changes.append((change, position))
    end = position + 1
  }

  mutating func removeAll() { changes.removeAll(keepingCapacity: true) }

  /// Takes the change back, or makes it again.
  mutating func exchange(
    _ index: Int, of thread: Int, _ memory: inout Memory, _ plain: inout PlainMemory
  ) {
    switch changes[index].change {
    case .word(let location, let newest, let number):
      let now = memory.locations[location]
      changes[index].change = .word(location, newest: now.newest, number: now.number)
      memory.locations[location].newest = newest
      memory.locations[location].number = number
    case .cell(let cell, var contents):
      plain.exchange(cell, &contents)
      changes[index].change = .cell(cell, contents)
    case .release(let released):
      changes[index].change = .release(memory.threads[thread].released)
      memory.threads[thread].released = released
    }
  }

  func hash(_ memory: Memory) -> UInt64 {
    var hash = UInt64(changes.count)
    for (change, _) in changes {
      switch change {
      case .word(let location, let newest, _):
        hash = mix(mix(hash, UInt64(location)), memory.stores[newest].value)
      case .cell(let cell, let contents): hash = mix(mix(hash, UInt64(cell)), contents.hash)
      case .release: hash = mix(hash, .max)
      }
    }
    return hash
  }
}

extension Explorer {
  /// Whether what changes surviving memory is fused with the thread's last step, if others cannot
  /// notice it. Before its first step a thread has none to be fused with.
  var keepsUndoLog: Bool {
    crash.isOn && contention.isUsed && !isStarting && running != 0 && !crash.isRecovering
  }

  private func log(_ change: UndoLog.Change) {
    crash.logs[running].append(change, at: taken.count)
  }

  /// Takes a step that nobody else notices but after a crash.
  func scheduleOrLog(_ change: UndoLog.Change, _ step: Operation) {
    guard keepsUndoLog else { return schedule(step) }
    log(change)
    passQuietly(running, step)
  }

  /// Notes what a step on a quiet word is about to change.
  func log(_ operation: Operation) {
    if operation.isRelease && isReleaseKept { log(.release(memory.threads[running].released)) }
    guard survives(word: operation.object) else { return }
    let location = memory.locations[operation.object]
    log(.word(operation.object, newest: location.newest, number: location.number))
  }

  /// Calls `body` with each memory that a crash leaves now: each thread's last changes are taken back,
  /// from all in its log to none.
  func withStoresTakenBack(from thread: Int = 1, _ body: () -> Void) {
    guard thread < threads.count, !crash.isRecovering else { return body() }
    let changes = crash.logs[thread].changes.indices
    for index in changes.reversed() {
      crash.logs[thread].exchange(index, of: thread, &memory, &plain)
    }
    for index in changes {
      crash.stops[thread] = index
      withStoresTakenBack(from: thread + 1, body)
      crash.logs[thread].exchange(index, of: thread, &memory, &plain)
    }
    crash.stops[thread] = nil
    withStoresTakenBack(from: thread + 1, body)
  }

  /// The token up to the crash, without the steps that are taken back. A thread's quiet steps follow
  /// each other in the token.
  var takenUntilCrash: [UInt8] {
    var token = taken
    let takenBack = threads.indices.compactMap { thread in
      crash.stops[thread].map {
        crash.logs[thread].changes[$0].position..<crash.logs[thread].end
      }
    }
    for steps in takenBack.sorted(by: { $0.lowerBound > $1.lowerBound }) {
      token.removeSubrange(steps)
    }
    return token
  }
}

/// The lock of a `Mutex`. It differs from a `ModelLock` in three ways:
///
/// - A thread may try it. Then the others can notice that it is still taken, so giving it back is a
///   step of its own. The exploration finds out which locks are tried. For all others, giving back
///   is fused with the thread's previous step, as in `ModelLock`.
/// - The order in which threads take it is part of their state, because the value that it guards is
///   outside of the model.
/// - A thread that takes it twice fails, as it does on Linux.
package struct StandInLock: ~Copyable, Sendable {
  private let location: Int
  private let execution: UInt64

  package init(_ type: @autoclosure () -> String, _ site: Site) {
    let explorer = StandIn.explorer(forNew: "a mutex", site)
    location = explorer.addLock(name: "lock\(explorer.memory.locations.count)", site)
    execution = explorer.owner
    explorer.introduce(location, type(), site)
  }

  private func explorer(_ site: Site) -> Explorer {
    let explorer = StandIn.explorer(for: "a mutex", site)
    explorer.verify(execution, "a mutex", site)
    return explorer
  }

  package func lock(_ site: Site) {
    let explorer = explorer(site)
    if explorer.isHeld(location) {
      let name = explorer.threads[explorer.running].name
      explorer.fail(
        .trap, "\(name) takes a Mutex that it holds already, at \(site.description)")
    }
    explorer.lock(location, site, recordsOrder: true)
  }

  package func tryLock(_ site: Site) -> Bool { explorer(site).tryLock(location, site) }

  package func unlock(_ site: Site) {
    let explorer = explorer(site)
    explorer.beginUnlock(location, site)
    explorer.unlock(location, site)
  }
}

extension Explorer {
  /// Takes the lock if it is free. It fails only if another thread holds the lock: never
  /// spuriously. A failure orders nothing.
  func tryLock(_ location: Int, _ site: Site) -> Bool {
    let bit: UInt64 = 1 << UInt64(location)
    if running != 0 && !crash.isRecovering && tried & bit == 0 {
      tried |= bit
      if !isTracing { becomeOutdated() }
    }
    schedule(
      Operation(
        kind: .tryLock, object: location, isWrite: true, operand: UInt64(site.line), site: site))
    guard isTaken(location) else {
      take(location, site, recordsOrder: true)
      if isTracing { note(site, "tryLock: done", location) }
      return true
    }
    if isOwn(location) { return false }
    // A loop that tries again waits for the next change.
    memory.noteRead(location, memory.locations[location].number, by: running)
    record(0)
    if isTracing {
      let owner = threads[Int(memory.store(location, age: 0).value) - 1].name
      note(site, "tryLock: failed, \(owner) holds it", location)
    }
    return false
  }

  /// The scheduling point before a lock is given back. In a replay it is always one, since a token
  /// names every step.
  func beginUnlock(_ location: Int, _ site: Site) {
    guard running != 0, !crash.isRecovering else { return }
    if isTracing || isReleaseKept || !crash.logs[running].isEmpty
      || tried >> UInt64(location) & 1 != 0
    {
      scheduleUnlock(location, site)
    } else {
      passQuietly(running, Operation(kind: .unlock, object: location))
    }
  }
}

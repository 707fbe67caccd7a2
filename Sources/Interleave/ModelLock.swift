/// A lock that stands in for a production lock, which is checked by itself. A thread that finds it
/// taken is not run until it is free. A spinning thread would be explored turn by turn.
///
/// Unlocking is no scheduling point. Until then nobody else can take a step on the lock, so it
/// commutes with all steps of others and is fused with the thread's previous step. An access to a
/// location that is only used under one lock is no scheduling point either (`Contention`).
///
/// Create it in the set-up of a scenario. It counts as a word.
public struct ModelLock: ~Copyable, Sendable {
  private let location: Int
  private let execution: UInt64

  /// Makes a lock that nobody holds. Traces show `name`.
  public init(name: String? = nil, file: StaticString = #fileID, line: UInt = #line) {
    let explorer = Explorer.current
    location = explorer.addLock(name: name, Site(file: file, line: line))
    execution = explorer.owner
  }

  /// Declares the variables outside of the model that threads use only under this lock. `hash`
  /// returns a hash of their values. For the cache of states, a thread that takes the lock reads
  /// them, so two orders of locked sections lead to one state if they leave the same values.
  public borrowing func guards(_ hash: @escaping () -> UInt64) {
    Explorer.current.guarded[location] = hash
  }

  /// Takes the lock. The thread does not run again until the lock is free.
  public borrowing func lock(file: StaticString = #fileID, line: UInt = #line) {
    let site = Site(file: file, line: line)
    explorer(site).lock(location, site)
  }

  /// Gives the lock back. The thread must hold it.
  public borrowing func unlock(file: StaticString = #fileID, line: UInt = #line) {
    let site = Site(file: file, line: line)
    let explorer = explorer(site)
    if explorer.crash.isOn { explorer.beginUnlock(location, site) }
    explorer.unlock(location, site)
  }

  private borrowing func explorer(_ site: Site) -> Explorer {
    let explorer = Explorer.current
    if execution != explorer.owner {
      explorer.verify(execution, "a lock", site)
    }
    return explorer
  }
}

extension Explorer {
  func addLock(name: String?, _ site: Site) -> Int {
    if crash.isMarking {
      fail(.misuse, "a lock in surviving memory, at \(site.description): nobody would give it back")
    }
    let location = addLocation(0, name: name, site)
    if !isOwn(location) { memory.makeLock(location) }
    return location
  }

  /// `recordsOrder` is whether the order in which threads take the lock is part of their state,
  /// since they share variables under it that the model does not know.
  func lock(_ location: Int, _ site: Site, recordsOrder: Bool = false) {
    schedule(
      Operation(
        kind: .lock, object: location, isWrite: true, operand: UInt64(site.line), site: site))
    guard !isTaken(location) else {
      return fail(.livelock, "\(name(location)) is never given back")
    }
    take(location, site, recordsOrder: recordsOrder)
    if isTracing { note(site, "lock", location) }
  }

  func take(_ location: Int, _ site: Site, recordsOrder: Bool) {
    if isOwn(location) { return setOwn(location, UInt64(running) + 1) }
    let message = memory.store(location, age: 0).message
    _ = memory.read(location, age: 0, by: running, .acquire)
    memory.write(location, UInt64(running) + 1, by: running, .acquire, passing: message, site)
    threads[running].held |= 1 << UInt64(location)
    if let variables = guarded[location] {
      record(variables())
    } else if recordsOrder {
      record(UInt64(memory.locations[location].number))
    } else {
      recordOrder(location)
    }
  }

  func unlock(_ location: Int, _ site: Site) {
    guard isHeld(location) else {
      return fail(.check, "unlock of a lock of another, at \(site.description)")
    }
    if isOwn(location) {
      setOwn(location, 0)
      memory.settleWrites(of: running)
    } else {
      threads[running].held &= ~(1 << UInt64(location))
      memory.write(location, 0, by: running, .release, site)
    }
    if isTracing { note(site, "unlock", location) }
  }

  func scheduleUnlock(_ location: Int, _ site: Site) {
    schedule(
      Operation(
        kind: .unlock, object: location, isWrite: true, isRelease: true,
        operand: UInt64(site.line), site: site))
  }

  func isHeld(_ lock: Int) -> Bool {
    isOwn(lock) ? own(lock) != 0 : threads[running].held >> UInt64(lock) & 1 != 0
  }
  func isTaken(_ lock: Int) -> Bool {
    isOwn(lock) ? own(lock) != 0 : memory.store(lock, age: 0).value != 0
  }
}

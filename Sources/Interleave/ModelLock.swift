/// A lock to stand in for a production lock that is checked by itself. A thread that finds it
/// taken is not run until it is free, where a spinning one would be explored turn by turn.
///
/// Giving it back is no scheduling point: until then nobody else can take a step on it, so it
/// commutes with all steps of others and goes with its own thread's step before it. What is only
/// accessed under one lock is no scheduling point either (`Contention`).
///
/// Created by the set-up of a scenario. Counts as a word.
public struct ModelLock: ~Copyable, Sendable {
  private let location: Int

  public init(name: String? = nil, file: StaticString = #fileID, line: UInt = #line) {
    location = Explorer.current.addLock(name: name, Site(file: file, line: line))
  }

  /// Names the variables outside of the model that threads use under this lock only, by a hash of
  /// their values. Who takes the lock reads them, as far as the cache of states is concerned; so
  /// two orders of locked sections are one state if they leave the same behind.
  public borrowing func guards(_ hash: @escaping () -> UInt64) {
    Explorer.current.guarded[location] = hash
  }

  public borrowing func lock(file: StaticString = #fileID, line: UInt = #line) {
    Explorer.current.lock(location, Site(file: file, line: line))
  }

  public borrowing func unlock(file: StaticString = #fileID, line: UInt = #line) {
    Explorer.current.unlock(location, Site(file: file, line: line))
  }
}

extension Explorer {
  func addLock(name: String?, _ site: Site) -> Int {
    let location = addLocation(0, name: name, site)
    memory.makeLock(location)
    return location
  }

  func lock(_ location: Int, _ site: Site) {
    schedule(
      Operation(kind: .lock, object: location, isWrite: true, operand: UInt64(site.line)))
    let newest = memory.store(location, age: 0)
    guard newest.value == 0 else {
      return fail(.livelock, "\(memory.locations[location].name) is never given back")
    }
    _ = memory.read(location, age: 0, by: running, .acquire)
    memory.write(
      location, UInt64(running) + 1, by: running, .acquire, passing: newest.message, site)
    threads[running].held |= 1 << UInt64(location)
    if let variables = guarded[location] {
      record(variables())
    } else {
      recordOrder(location)
    }
    if isTracing { note(site, "lock", location) }
  }

  func unlock(_ location: Int, _ site: Site) {
    guard threads[running].held >> UInt64(location) & 1 != 0 else {
      return fail(.check, "unlock of a lock of another, at \(site.description)")
    }
    threads[running].held &= ~(1 << UInt64(location))
    memory.write(location, 0, by: running, .release, site)
    if isTracing { note(site, "unlock", location) }
  }

  func isTaken(_ lock: Int) -> Bool { memory.store(lock, age: 0).value != 0 }
}

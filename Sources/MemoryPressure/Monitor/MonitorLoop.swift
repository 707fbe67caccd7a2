import Glibc

/// The loop of the monitor's thread: it waits, asks the watches that are ready, and publishes the
/// level.
struct MonitorLoop: Sendable {
  private let core: PressureCore
  private let options: PressureMonitor.Options
  private var watches: [any Watch]
  private var levels = HeldLevels()
  /// The source that last reported each level.
  private var causes: [PressureLevel: PressureSource] = [:]
  /// When to look next at the watches without a descriptor.
  private var nextLook = Duration.zero
  private var hadFailure = false

  init(_ core: PressureCore, _ watches: [any Watch], _ options: PressureMonitor.Options) {
    self.core = core
    self.watches = watches
    self.options = options
  }

  private var calls: any SystemCalls { core.wake.calls }
  /// At least 1 ms, so that the thread does not spin.
  private var interval: Duration { max(options.interval, .milliseconds(1)) }

  mutating func run() {
    core.begin()
    nextLook = calls.now()
    while !core.hasEnded {
      let ready = wait()
      guard !core.hasEnded else { return }
      let now = calls.now()
      let isTime = nextLook <= now
      if isTime { nextLook = now + interval }
      ask(at: now) { watch in
        guard let descriptor = watch.descriptor else { return isTime ? 0 : nil }
        return ready[descriptor.number]
      }
      let level = levels.level(at: now)
      core.publish(level, causes[level])
    }
  }

  /// Waits for an event, for the time to look, or for the time at which the level falls. Returns
  /// the events of the descriptors that are ready.
  private mutating func wait() -> [Int32: Int16] {
    let now = calls.now()
    let look = watches.contains { $0.descriptor == nil } ? nextLook : nil
    let next = [look, levels.nextFall(after: now)].compactMap(\.self).min()
    let wakeup = pollfd(fd: core.wake.number, events: Int16(POLLIN), revents: 0)
    var descriptors =
      [wakeup]
      + watches.compactMap { watch in
        watch.descriptor.map { pollfd(fd: $0.number, events: watch.events, revents: 0) }
      }
    do {
      try calls.poll(&descriptors, milliseconds: next.map { ($0 - now).milliseconds } ?? -1)
    } catch {
      // Pending events stay pending, and the watches without a descriptor are still looked at.
      core.noteWait(.system(call: "poll", path: "the sources", errno: error.code))
      hadFailure = true
      calls.pause(interval)
      return [:]
    }
    if hadFailure { core.noteWait(nil) }
    hadFailure = false
    // If the wakeup cannot be read, the next poll returns at once, which does no harm.
    if descriptors[0].revents != 0 { try? calls.drain(core.wake.number) }
    let ready = descriptors.dropFirst().filter { $0.revents != 0 }
    return Dictionary(ready.map { ($0.fd, $0.revents) }, uniquingKeysWith: |)
  }

  /// Asks the watches that `ready` has events for, and drops those that fail.
  private mutating func ask(at now: Duration, _ ready: (any Watch) -> Int16?) {
    var kept: [any Watch] = []
    for var watch in watches {
      guard let events = ready(watch) else {
        kept.append(watch)
        continue
      }
      do throws(PressureError) {
        if events & Int16(POLLNVAL) != 0 {
          throw .system(call: "poll", path: watch.source.path, errno: EBADF)
        }
        let level = try watch.answer(events)
        levels.note(level, until: now + options.decay + watch.pause)
        if level != .normal { causes[level] = watch.source }
        kept.append(watch)
      } catch { core.drop(watch.source, error) }
    }
    watches = kept
  }
}

import Glibc
import Synchronization
import Testing

@testable import MemoryPressure

/// A monitor on a fake tree that has everything: PSI, a v2 group with limits, and a v1 group. No
/// real machine has all of these.
struct Rig {
  let fake: FakeTree
  let calls = TestCalls()
  static let own = "/sys/fs/cgroup/unified/a/b"
  static let events = "\(own)/memory.events.local"

  init(_ more: [String: String] = [:]) throws {
    let unified = "/sys/fs/cgroup/unified"
    fake = try FakeTree(
      stalls + v1("") + v1("/m", limit: 1000, usage: 100)
        + v2("", mount: unified) + v2("/a", max: 2000, usage: 200, mount: unified)
        + v2("/a/b", max: 1000, usage: 950, mount: unified)
        + ["/proc/self/cgroup": "4:memory:/m\n0::/a/b\n"] + more)
  }

  func monitor(
    _ change: (inout PressureMonitor.Options) -> Void = { _ in }
  ) throws(PressureError) -> PressureMonitor {
    var options = PressureMonitor.Options()
    change(&options)
    return try PressureMonitor(in: fake.tree(calls), options: options)
  }
}

/// Records the levels that an observation was called with.
final class Heard: Sendable {
  private let list = Mutex<[PressureLevel]>([])
  var levels: [PressureLevel] { list.withLock { $0 } }
  func note(_ level: PressureLevel) { list.withLock { $0.append(level) } }
}

@Suite struct MonitorTests {
  @Test func allSourcesThatThereAreAreUsed() throws {
    let rig = try Rig()
    let monitor = try rig.monitor()
    let paths = monitor.sources.map { "\($0.path.dropFirst(rig.fake.root.count)) \($0.detail)" }
    let some = "some 150 ms in 2000 ms means medium"
    let full = "full 100 ms in 2000 ms means critical"
    let counted =
      "high means medium, max and oom mean critical; high and max mean low while page cache"
      + " fills the group"
    #expect(
      paths == [
        "/proc/pressure/memory \(some)", "/proc/pressure/memory \(full)",
        "\(Rig.own)/memory.pressure \(some)", "\(Rig.own)/memory.pressure \(full)",
        "\(Rig.own)/memory.events.local \(counted)",
        "/sys/fs/cgroup/unified/a/memory.events.local \(counted)",
        "/sys/fs/cgroup/unified/memory.events.local \(counted)",
        "/sys/fs/cgroup/memory/m/memory.pressure_level low",
        "/sys/fs/cgroup/memory/m/memory.pressure_level medium",
        "/sys/fs/cgroup/memory/m/memory.pressure_level critical",
        "/sys/fs/cgroup/memory/memory.pressure_level low,local",
        "/sys/fs/cgroup/memory/memory.pressure_level medium,local",
        "/sys/fs/cgroup/memory/memory.pressure_level critical,local",
        "/sys/fs/cgroup/memory/m 90 % of the limit means medium, 97 % critical, "
          + "page cache not counted",
      ])
    #expect(monitor.unavailable == [] && monitor.level == .normal)
    #expect(rig.calls.with { $0.written.values.contains("some 150000 2000000\0") })
  }

  @Test func withoutAnySourceTheLevelIsNormalAndEachReasonIsSaid() throws {
    let fake = try FakeTree()
    let monitor = try PressureMonitor(in: fake.tree)
    #expect(monitor.sources == [] && monitor.level == .normal)
    #expect(Set(monitor.unavailable.map(\.source.kind)) == Set(PressureSource.Kind.allCases))
    var options = PressureMonitor.Options()
    options.requiresSource = true
    let error = #expect(throws: PressureError.self) {
      try PressureMonitor(in: fake.tree, options: options)
    }
    #expect(
      "\(try #require(error))".hasPrefix("no source of memory pressure can be used"))
  }

  @Test func aWindowThatIsRefusedIsRounded() throws {
    let rig = try Rig()
    let monitor = try rig.monitor {
      $0.kinds = [.groupStall]
      $0.stalls = [
        StallTrigger(.some, .milliseconds(150), in: .seconds(1), means: .low),
        StallTrigger(.full, .seconds(3), in: .seconds(2), means: .critical),
      ]
    }
    #expect(
      monitor.sources.map(\.detail) == [
        "some 300 ms in 2000 ms means low (the kernel refused a window of 1000 ms)"
      ])
    #expect(monitor.unavailable.count == 1)
    #expect("\(monitor.unavailable[0])".contains("Invalid argument; the kernel does not take this"))
    rig.calls.raise("memory.pressure", POLLPRI)
    #expect(rig.calls.settle() && monitor.level == .low)
  }

  @Test(arguments: [
    (150, 1000, "some 300000 2000000"), (150, 500, "some 600000 2000000"),
    (900, 3000, "some 1200000 4000000"), (1000, 20000, "some 500000 10000000"),
    (1, 9999, "some 1000 10000000"), (150, 2000, nil), (150, 10000, nil), (150, 0, nil),
    (150, -1, nil), (2000, 1000, nil),
  ])
  func triggersRoundUp(threshold: Int, window: Int, expected: String?) {
    let trigger = StallTrigger(
      .some, .milliseconds(threshold), in: .milliseconds(window), means: .low)
    #expect(trigger.rounded?.setting == expected)
  }

  @Test func absurdTriggersAreRefusedAndNothingMore() throws {
    let rig = try Rig()
    let monitor = try rig.monitor {
      $0.kinds = [.systemStall]
      $0.stalls = [
        StallTrigger(.some, .seconds(Int64.max), in: .seconds(Int64.max), means: .low),
        StallTrigger(.some, .seconds(-1), in: .seconds(Int64.min), means: .low),
        StallTrigger(.some, .zero, in: .zero, means: .low),
      ]
    }
    // The first trigger asks for stalls all of the time, and is rounded to that.
    #expect(monitor.sources.count + monitor.unavailable.count == 3)
    #expect(monitor.unavailable.count >= 2)
  }

  @Test func stallsRaiseTheLevelAndItDecays() throws {
    let rig = try Rig()
    let monitor = try rig.monitor { $0.kinds = [.groupStall, .systemStall] }
    rig.calls.raise("memory.pressure", written: "some", POLLPRI)
    #expect(rig.calls.settle() && monitor.level == .medium)
    rig.calls.raise("/proc/pressure/memory", written: "full", POLLPRI)
    #expect(rig.calls.settle() && monitor.level == .critical)
    // Two seconds of decay plus the two of the window, in which the kernel does not report again.
    rig.calls.advance(.milliseconds(3999))
    rig.calls.raise("memory.pressure", written: "some", POLLPRI)
    #expect(rig.calls.settle() && monitor.level == .critical)
    rig.calls.advance(.milliseconds(2))
    #expect(rig.calls.settle() && monitor.level == .medium)
    rig.calls.advance(.seconds(4))
    #expect(rig.calls.settle() && monitor.level == .normal)
  }

  @Test func theCauseIsWhoToldOfTheLevelOfNow() throws {
    let rig = try Rig()
    let monitor = try rig.monitor { $0.kinds = [.groupStall, .systemStall] }
    #expect(monitor.cause == nil)
    rig.calls.raise("/proc/pressure/memory", written: "full", POLLPRI)
    #expect(rig.calls.settle() && monitor.cause?.kind == .systemStall)
    // A source that reports a lower level becomes the cause only when the higher level is over.
    rig.calls.advance(.milliseconds(3999))
    rig.calls.raise("memory.pressure", written: "some", POLLPRI)
    #expect(rig.calls.settle() && monitor.cause?.detail.hasPrefix("full") == true)
    rig.calls.advance(.milliseconds(2))
    #expect(rig.calls.settle() && monitor.cause?.kind == .groupStall)
    rig.calls.advance(.seconds(4))
    #expect(rig.calls.settle() && monitor.level == .normal && monitor.cause == nil)
  }

  @Test func eachCounterOfV2HasItsLevel() throws {
    let rig = try Rig()
    let monitor = try rig.monitor { $0.kinds = [.limitEvents] }
    let steps: [(String, PressureLevel)] = [
      (events(high: 1), .medium), (events(high: 1, max: 1), .critical),
      (events(high: 1, max: 1, oom: 1), .critical), (events(high: 1, max: 1, oom: 1), .normal),
    ]
    for (text, level) in steps {
      try rig.fake.write(Rig.events, text)
      // As kernfs reports it.
      rig.calls.raise(Rig.events, POLLPRI | POLLERR)
      #expect(rig.calls.settle() && monitor.level == level, "\(text)")
      rig.calls.advance(.seconds(3))
      #expect(rig.calls.settle() && monitor.level == .normal)
    }
    #expect(monitor.sources.count == 3)
  }

  @Test func aLimitThatPageCacheFillsIsLow() throws {
    let rig = try Rig(
      v2("/a/b", max: 1000, usage: 1000, file: 900, mount: "/sys/fs/cgroup/unified"))
    let monitor = try rig.monitor { $0.kinds = [.limitEvents] }
    try rig.fake.write(Rig.events, events(max: 9))
    rig.calls.raise(Rig.events, POLLPRI | POLLERR)
    #expect(rig.calls.settle() && monitor.level == .low)
    try rig.fake.write(Rig.events, events(max: 9, oom: 1))
    rig.calls.raise(Rig.events, POLLPRI | POLLERR)
    #expect(rig.calls.settle() && monitor.level == .critical)
  }

  @Test func beforeLocalCountersTheOthersCount() throws {
    let rig = try Rig(["\(Rig.own)/memory.events": events()])
    try rig.fake.remove(Rig.events)
    try rig.fake.remove("/sys/fs/cgroup/unified/a/memory.events.local")
    let monitor = try rig.monitor { $0.kinds = [.limitEvents] }
    #expect(monitor.sources.map { $0.path.hasSuffix("/a/b/memory.events") } == [true, false])
    #expect(monitor.unavailable == [])
  }

  @Test(arguments: [PressureLevel.low, .medium, .critical], ["", ",local"])
  func eachLevelOfV1IsHeard(level: PressureLevel, mode: String) throws {
    let rig = try Rig()
    let monitor = try rig.monitor { $0.kinds = [.pressureLevel] }
    rig.calls.signal(" \(level)\(mode)")
    #expect(rig.calls.settle() && monitor.level == level)
    rig.calls.advance(.seconds(3))
    #expect(rig.calls.settle() && monitor.level == .normal)
    #expect(monitor.sources.count == 6)
  }

  @Test func useAgainstTheLimitIsALevel() throws {
    let rig = try Rig()
    let usage = "/sys/fs/cgroup/memory/m/memory.usage_in_bytes"
    let monitor = try rig.monitor {
      $0.kinds = [.usage]
      $0.decay = .milliseconds(500)
    }
    let steps: [(String, PressureLevel)] = [
      ("899", .normal), ("900", .medium), ("969", .medium), ("970", .critical),
      ("5000", .critical), ("0", .normal),
    ]
    for (text, level) in steps {
      try rig.fake.write(usage, text)
      rig.calls.advance(.seconds(1))
      #expect(rig.calls.settle() && monitor.level == level, "\(text)")
    }
    try rig.fake.write("/sys/fs/cgroup/memory/m/memory.limit_in_bytes", "1")
    try rig.fake.write(usage, "1")
    rig.calls.advance(.seconds(1))
    #expect(rig.calls.settle() && monitor.level == .critical)
  }

  @Test func pageCacheIsNoUse() throws {
    let rig = try Rig(v1("/m", limit: 1000, usage: 1000, file: 200))
    let monitor = try rig.monitor { $0.kinds = [.usage] }
    rig.calls.advance(.seconds(1))
    #expect(rig.calls.settle() && monitor.level == .normal)
  }

  @Test func noLimitIsAReasonAndNoWakeups() throws {
    let rig = try Rig(v1("/m"))
    let monitor = try rig.monitor { $0.kinds = [.usage] }
    #expect(monitor.sources == [] && monitor.unavailable.count == 1)
    #expect("\(monitor.unavailable[0])".contains("no limit is set at"))
  }

  @Test func whoObservesHearsTheLevelOfNowAndThenChanges() throws {
    let rig = try Rig()
    let monitor = try rig.monitor { $0.kinds = [.pressureLevel] }
    let (first, second) = (Heard(), Heard())
    let observation = monitor.observe(first.note)
    #expect(eventually { first.levels == [.normal] })
    rig.calls.signal(" critical")
    #expect(eventually { first.levels == [.normal, .critical] })
    let other = monitor.observe(second.note)
    #expect(eventually { second.levels == [.critical] })
    observation.cancel()
    rig.calls.advance(.seconds(3))
    #expect(eventually { second.levels == [.critical, .normal] })
    #expect(first.levels == [.normal, .critical])
    other.cancel()
    other.cancel()
  }

  /// The last references to a monitor and its observation.
  private final class Holder: Sendable {
    let content = Mutex<(PressureMonitor, PressureObservation)?>(nil)

    func release() {
      let content = content.withLock { content in
        defer { content = nil }
        return content
      }
      content?.1.cancel()
    }
  }

  @Test func aBodyMayEndItsObservationAndTheMonitor() throws {
    let rig = try Rig()
    let (heard, holder) = (Heard(), Holder())
    try holder.content.withLock { content in
      let monitor = try rig.monitor { $0.kinds = [.pressureLevel] }
      let observation = monitor.observe { level in
        heard.note(level)
        if level == .critical { holder.release() }
      }
      content = (monitor, observation)
    }
    rig.calls.signal(" critical")
    #expect(eventually { heard.levels.last == .critical && rig.calls.openCount == 0 })
  }

  @Test func everySubscriberOfTheSequenceGetsTheLevelFirst() async throws {
    let rig = try Rig()
    let monitor = try rig.monitor { $0.kinds = [.pressureLevel] }
    var first = monitor.levels.makeAsyncIterator()
    #expect(await first.next() == .normal)
    rig.calls.signal(" medium")
    #expect(await first.next() == .medium)
    var second = monitor.levels.makeAsyncIterator()
    #expect(await second.next() == .medium)
    rig.calls.advance(.seconds(3))
    #expect(await first.next() == .normal)
    #expect(await second.next() == .normal)
  }

  @Test func cancellingATaskEndsItsSequence() async throws {
    let rig = try Rig()
    let monitor = try rig.monitor { $0.kinds = [.pressureLevel] }
    let heard = Heard()
    let task = Task { for await level in monitor.levels { heard.note(level) } }
    #expect(try await eventually { heard.levels == [.normal] })
    task.cancel()
    await task.value
    rig.calls.signal(" medium")
    #expect(try await eventually { monitor.level == .medium })
    #expect(heard.levels == [.normal])
  }

  @Test func theMonitorsEndEndsAll() async throws {
    let rig = try Rig()
    let heard = Heard()
    var monitor: PressureMonitor? = try rig.monitor()
    let sequence = try #require(monitor?.levels)
    let observation = try #require(monitor?.observe(heard.note))
    #expect(try await eventually { heard.levels == [.normal] })
    #expect(rig.calls.openCount > 10)
    monitor = nil
    for await _ in sequence {}
    // The thread holds every descriptor, and they are closed when it ends.
    withExtendedLifetime(observation) {}
    #expect(try await eventually { rig.calls.openCount <= 1 })
    observation.cancel()
  }

  @Test func manyMonitorsLeaveNothing() throws {
    let rig = try Rig()
    for _ in 0..<50 { _ = try rig.monitor() }
    #expect(eventually { rig.calls.openCount == 0 })
  }

  @Test func levelsHoldForTheirTime() {
    var held = HeldLevels()
    #expect(held.level(at: .seconds(1)) == .normal && held.nextFall(after: .seconds(1)) == nil)
    held.note(.low, until: .seconds(9))
    held.note(.critical, until: .seconds(5))
    held.note(.critical, until: .seconds(3))
    #expect(held.level(at: .seconds(4)) == .critical)
    #expect(held.nextFall(after: .seconds(4)) == .seconds(5))
    #expect(held.level(at: .seconds(5)) == .low && held.nextFall(after: .seconds(5)) == .seconds(9))
    #expect(held.level(at: .seconds(9)) == .normal)
  }
}

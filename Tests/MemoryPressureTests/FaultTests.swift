import Glibc
import Testing

@testable import MemoryPressure

/// The system's text for an errno.
private func words(_ errno: Int32) -> String { unsafe String(cString: strerror(errno)) }

/// Makes every system call of the monitor fail, one at a time.
@Suite struct FaultTests {
  private static let errors = [EMFILE, EIO, ENOMEM]

  @Test(arguments: errors) func anyCallMayFailAtTheStart(errno: Int32) throws {
    let all = try Set(Rig().monitor().sources.map { "\($0.kind) \($0.detail)" })
    var calls = 0
    while true {
      let rig = try Rig()
      rig.calls.fail(calls + 1, with: errno)
      let monitor: PressureMonitor?
      var thrown: PressureError?
      do throws(PressureError) {
        monitor = try rig.monitor()
      } catch {
        monitor = nil
        thrown = error
      }
      guard let failed = rig.calls.failed else { break }
      calls += 1
      guard let monitor else {
        // Only the counter that wakes the thread is necessary: without it, the thread could not be
        // ended.
        #expect(failed == "eventfd counter", "call \(calls)")
        #expect("\(try #require(thrown))".contains(words(errno)))
        #expect(rig.calls.openCount == 0, "call \(calls)")
        continue
      }
      let lost = all.subtracting(monitor.sources.map { "\($0.kind) \($0.detail)" })
      let spoken = monitor.unavailable.filter { "\($0)".contains(words(errno)) }
      // Each lost source is listed with the cause.
      #expect(lost.isEmpty || !spoken.isEmpty, "call \(calls): \(failed)")
      #expect(monitor.unavailable == spoken, "call \(calls): \(failed)")
      // If only one source reads a file, no other source is lost with it.
      let isCommon =
        failed.contains("/proc/self/") || !failed.split(separator: "/").last!.contains(".")
      #expect(isCommon || spoken.count <= 1, "call \(calls): \(failed): \(spoken)")
      #expect(spoken.count <= 3, "call \(calls): \(failed)")
      // The remaining sources do their work.
      try expectTheRestToWork(rig, monitor, "call \(calls): \(failed)")
    }
    #expect(calls > 60)
    print("memory pressure: \(calls) calls failed in turn at the start with \(errno)")
  }

  @Test(arguments: errors) func anyCallMayFailLater(errno: Int32) throws {
    var calls = 0
    while true {
      let rig = try Rig()
      let monitor = try rig.monitor()
      let count = monitor.sources.count
      #expect(rig.calls.settle())
      rig.calls.fail(calls + 1, with: errno)
      try expectTheRestToWork(rig, monitor, "call \(calls + 1)")
      guard let failed = rig.calls.failed else { break }
      calls += 1
      let lost = count - monitor.sources.count
      #expect(lost <= 1 && monitor.unavailable.count == lost, "call \(calls): \(failed)")
      for gone in monitor.unavailable {
        #expect("\(gone.reason)".contains(words(errno)))
        #expect(failed.contains(gone.source.path), "call \(calls): \(failed)")
      }
    }
    #expect(calls > 10)
    print("memory pressure: \(calls) calls failed in turn while running with \(errno)")
  }

  /// Raises an event of each kind in turn. Whichever call failed, at least one source is left for
  /// each level.
  private func expectTheRestToWork(
    _ rig: Rig, _ monitor: PressureMonitor, _ comment: Comment
  ) throws {
    func expect(_ level: PressureLevel) throws {
      try #require(rig.calls.settle() && monitor.level == level, comment)
    }
    #expect(Set(monitor.sources.map(\.kind)).count >= 3, comment)
    rig.calls.signal(" medium")
    rig.calls.raise("memory.pressure", written: "some", POLLPRI)
    try expect(.medium)
    try rig.fake.write(Rig.events, events(oom: 1))
    rig.calls.raise(Rig.events, POLLPRI | POLLERR)
    rig.calls.raise("/proc/pressure/memory", written: "full", POLLPRI)
    try expect(.critical)
    rig.calls.advance(.seconds(10))
    try expect(.normal)
    try rig.fake.write("/sys/fs/cgroup/memory/m/memory.usage_in_bytes", "1000")
    rig.calls.signal(" critical")
    rig.calls.advance(.seconds(1))
    try expect(.critical)
  }

  @Test func aWaitThatFailsIsTriedAgain() throws {
    let rig = try Rig()
    let monitor = try rig.monitor()
    #expect(rig.calls.settle())
    rig.calls.with { $0.broken["poll"] = ENOMEM }
    rig.calls.signal(" low")
    #expect(eventually { monitor.waitFailure != nil })
    #expect(
      monitor.waitFailure?.description
        == "poll of the sources failed: Cannot allocate memory; "
        + "the kernel is out of memory; try again later")
    // The group's use is still read, and pending events stay pending.
    try rig.fake.write("/sys/fs/cgroup/memory/m/memory.usage_in_bytes", "1000")
    rig.calls.advance(.milliseconds(200))
    #expect(eventually { monitor.level == .critical })
    rig.calls.signal(" medium")
    try rig.fake.write("/sys/fs/cgroup/memory/m/memory.usage_in_bytes", "100")
    rig.calls.with { $0.broken = [:] }
    #expect(rig.calls.settle() && monitor.waitFailure == nil)
    rig.calls.advance(.milliseconds(2100))
    rig.calls.signal(" medium")
    #expect(rig.calls.settle() && monitor.level == .medium)
    #expect(monitor.unavailable == [])
  }

  @Test func aGroupThatIsRemovedEndsItsSourcesAndNoOthers() throws {
    let rig = try Rig()
    let monitor = try rig.monitor()
    try rig.fake.remove("/sys/fs/cgroup/memory/m/cgroup.event_control")
    rig.calls.signal(" low")
    #expect(eventually { monitor.unavailable.count == 1 })
    rig.calls.raise("memory.pressure", POLLERR | POLLPRI)
    #expect(eventually { monitor.unavailable.count == 3 })
    #expect(monitor.unavailable.allSatisfy { "\($0)".contains("was removed; make a new monitor") })
    #expect(monitor.level == .normal)
    rig.calls.raise("/proc/pressure/memory", written: "some", POLLPRI)
    #expect(eventually { monitor.level == .medium })
  }

  @Test func aDescriptorThatSomebodyElseClosedIsDropped() throws {
    let rig = try Rig()
    let monitor = try rig.monitor()
    rig.calls.raise("/proc/pressure/memory", written: "some", POLLNVAL)
    #expect(eventually { monitor.unavailable.count == 1 })
    #expect("\(monitor.unavailable[0])".contains("Bad file descriptor"))
  }

  @Test func countersThatBecomeGarbageAreDropped() throws {
    let rig = try Rig()
    let monitor = try rig.monitor()
    try rig.fake.write(Rig.events, "high many\n")
    rig.calls.raise(Rig.events, POLLPRI | POLLERR)
    #expect(eventually { monitor.unavailable.count == 1 })
    #expect("\(monitor.unavailable[0])".contains("holds \"high many\" and not lines high, max"))
  }

  /// Each refusal says what failed, where, why, and what to do.
  @Test(arguments: [
    ("/proc/pressure/memory", EOPNOTSUPP, "boot the kernel with psi=1"),
    ("memory.pressure_level", EACCES, "run with the right to open it"),
    ("cgroup.event_control", EPERM, "have the group delegated"),
    ("memory.events.local", EMFILE, "raise the limit of open files"),
    ("memory.usage_in_bytes", EACCES, "run with the right to open it"),
    ("/proc/self/cgroup", ENOENT, "this kernel or container does not offer it"),
  ])
  func refusalsSayWhatToDo(piece: String, errno: Int32, advice: String) throws {
    let rig = try Rig()
    rig.calls.with { $0.broken[piece] = errno }
    let monitor = try rig.monitor()
    #expect(!monitor.unavailable.isEmpty)
    for refused in monitor.unavailable {
      #expect("\(refused.reason)".contains(piece))
      #expect("\(refused.reason)".contains(words(errno)))
      #expect("\(refused.reason)".contains(advice))
    }
  }
}

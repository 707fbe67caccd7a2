import Foundation
import Testing

@testable import MemoryPressure

/// Tests on the running kernel, with groups and processes of their own.
@Suite(.serialized) struct RealMachineTests {
  @Test func theMachineIsRead() throws {
    let totals = try MemoryTotals()
    #expect(totals.total > 64 << 20 && totals.available < totals.total)
    let monitor = try PressureMonitor()
    for source in monitor.sources { print("memory pressure: uses \(source)") }
    for refused in monitor.unavailable { print("memory pressure: without \(refused)") }
    guard let group = try? ControlGroup() else { return }
    print("memory pressure: \(group.directory), limit \(group.limit.map(String.init) ?? "none")")
    #expect(group.problems == [])
    if let limit = group.limit { #expect(try #require(group.available) <= limit) }
  }

  @Test(.enabled(if: Machine.unfitForStalls == nil, "\(Machine.unfitForStalls ?? "")"))
  func theKernelTakesTriggersAndRoundedOnes() throws {
    var options = PressureMonitor.Options()
    options.kinds = [.systemStall]
    options.stalls = [
      StallTrigger(.some, .milliseconds(150), in: .seconds(2), means: .medium),
      StallTrigger(.full, .milliseconds(100), in: .seconds(1), means: .critical),
    ]
    let monitor = try PressureMonitor(options: options)
    #expect(monitor.unavailable == [] && monitor.sources.count == 2)
    // With CAP_SYS_RESOURCE, the kernel accepts the second trigger unchanged.
    let taken = monitor.sources.last?.detail ?? ""
    #expect(
      taken == "full 100 ms in 1000 ms means critical"
        || taken
          == "full 200 ms in 2000 ms means critical (the kernel refused a window of 1000 ms)"
    )
  }

  @Test(.enabled(if: Machine.unfitForV1 == nil, "\(Machine.unfitForV1 ?? "")"))
  func aRealLimitIsFoundAndItsRemovalSaid() throws {
    let group = try TestGroup(in: Machine.v1)
    try group.set("memory.limit_in_bytes", "67108864")
    let fake = try group.tree("4:memory:")
    let found = try ControlGroup(in: fake.tree)
    #expect(found.directory == "\(fake.root)\(group.path)" && found.problems == [])
    #expect(found.limit == 64 << 20 && found.available == 64 << 20)
    #expect(found.usage == 0 && found.reclaimable == 0)
    var options = PressureMonitor.Options()
    options.kinds = [.pressureLevel, .usage]
    let monitor = try PressureMonitor(in: fake.tree, options: options)
    let isOwn = { (source: PressureSource) in source.path.contains(group.name) }
    #expect(monitor.sources.filter(isOwn).count == 4)
    #expect(monitor.unavailable.filter { isOwn($0.source) } == [])
    #expect(group.remove())
    #expect(eventually { monitor.unavailable.filter { isOwn($0.source) }.count == 4 })
    let reasons = monitor.unavailable.filter { isOwn($0.source) }.map(\.reason.description)
    #expect(reasons.allSatisfy { $0.contains("was removed") })
    // The sources of the groups above stay in use.
    #expect(monitor.sources.contains { $0.kind == .pressureLevel && !isOwn($0) })
    #expect(found.usage == nil)
  }

  @Test(
    .enabled(if: Machine.unfitForV1 == nil, "\(Machine.unfitForV1 ?? "")"),
    .enabled(if: Machine.unfitForPython == nil, "\(Machine.unfitForPython ?? "")"))
  func aFullGroupIsSeenByItsUse() throws {
    let group = try TestGroup(in: Machine.v1)
    try group.set("memory.limit_in_bytes", "\(100 << 20)")
    let fake = try group.tree("4:memory:")
    var options = PressureMonitor.Options()
    options.kinds = [.usage]
    options.decay = .milliseconds(300)
    let monitor = try PressureMonitor(in: fake.tree, options: options)
    #expect(monitor.level == .normal)
    let child = try group.python(
      "import time; x = b\"x\" * (85 << 20); open(\"\(fake.root)/ready\", \"w\"); time.sleep(600)")
    defer {
      // Not SIGTERM: Foundation's threads block it, and children inherit the mask.
      kill(child.processIdentifier, SIGKILL)
      child.waitUntilExit()
    }
    let found = try ControlGroup(in: fake.tree)
    #expect(eventually { FileManager.default.fileExists(atPath: fake.root + "/ready") })
    #expect(try #require(found.usage) >= 85 << 20)
    let available = try #require(found.available)
    #expect(available <= 15 << 20)
    // Set a limit just above what cannot be reclaimed, and then raise it again.
    let kept = UInt64(100 << 20) - available
    try group.set("memory.limit_in_bytes", "\(kept + kept / 20)")
    #expect(eventually { monitor.level >= .medium })
    try group.set("memory.limit_in_bytes", "\(1 << 30)")
    #expect(eventually { monitor.level == .normal })
    #expect(monitor.unavailable == [])
  }

  @Test(
    .enabled(if: Machine.unfitForV1 == nil, "\(Machine.unfitForV1 ?? "")"),
    .enabled(if: Machine.unfitForPython == nil, "\(Machine.unfitForPython ?? "")"))
  func reclaimThatFindsNothingIsCritical() throws {
    let group = try TestGroup(in: Machine.v1)
    try group.set("memory.limit_in_bytes", "\(48 << 20)")
    let fake = try group.tree("4:memory:")
    var options = PressureMonitor.Options()
    options.kinds = [.pressureLevel]
    options.decay = .seconds(1)
    let monitor = try PressureMonitor(in: fake.tree, options: options)
    let heard = Heard()
    let observation = monitor.observe(heard.note)
    // It allocates more than the limit, so the group's OOM killer ends it.
    let child = try group.python("x = b\"x\" * (200 << 20)")
    child.waitUntilExit()
    #expect(child.terminationReason == .uncaughtSignal)
    #expect(eventually { heard.levels.contains(.critical) })
    #expect(eventually { monitor.level == .normal })
    observation.cancel()
  }

  @Test(.enabled(if: Machine.unfitForV2 == nil, "\(Machine.unfitForV2 ?? "")"))
  func aV2GroupsTriggersEndWithIt() throws {
    let group = try TestGroup(in: Machine.v2)
    let fake = try group.tree("0::")
    var options = PressureMonitor.Options()
    options.kinds = [.groupStall, .systemStall]
    let monitor = try PressureMonitor(in: fake.tree, options: options)
    let isOwn = { (source: PressureSource) in source.kind == .groupStall }
    #expect(monitor.sources.filter(isOwn).count == 2)
    let others = monitor.sources.count - 2
    #expect(group.remove())
    #expect(eventually { monitor.unavailable.filter { isOwn($0.source) }.count == 2 })
    #expect(monitor.unavailable.allSatisfy { "\($0.reason)".contains("was removed") })
    #expect(monitor.sources.count == others && monitor.level == .normal)
  }
}

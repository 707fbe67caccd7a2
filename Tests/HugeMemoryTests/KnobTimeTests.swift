import Testing

@testable import HugeMemory

/// A setting in a running machine takes effect at the background's next turn, and not only after
/// the wait that the old value asked for.
@Suite struct KnobTimeTests {
  @Test func aShorterSleepDoesNotWaitForTheOldOne() throws {
    var policy = Policy(huge: false)
    policy.enabled = .collapse
    policy.maxPtesNone = 0
    policy.scanSleepMilliseconds = 60_000
    let machine = try Machine(limit: 64 * mib, policy: policy)
    let space = try machine.makeSpace(size: 8 * slot)
    var cycle = ReclaimCycle(pressure: nil)
    _ = cycle.turn(machine)
    // The slot is dense only after the scan, so the next scan makes it huge.
    try space.fill(7, at: 0, count: slot - page)
    try space.fill(7, at: slot - page, count: page)
    _ = cycle.turn(machine)
    #expect(machine[counter: "thp_collapse_alloc"] == 0, "a scan a minute")
    machine.tune { $0.scanSleepMilliseconds = 100 }
    _ = cycle.turn(machine)
    #expect(machine[counter: "thp_collapse_alloc"] == 1)
    #expect(try space.pageState(at: 0).isHuge)
  }

  @Test func aFullMachineLooksAgainWhenAKnobIsSet() throws {
    let machine = try Machine(limit: 4 * mib, policy: Policy(huge: false))
    let space = try machine.makeSpace(size: gib)
    var at: UInt64 = 0
    while (try? space.store(UInt64(1), at: at)) != nil { at += page }
    let looked = machine[counter: "pgscan_direct"]
    #expect(throws: MemoryError.self) { try space.store(UInt64(1), at: at) }
    #expect(machine[counter: "pgscan_direct"] == looked, "not twice within a second")
    machine.tune { $0.shrinkUnderused.toggle() }
    #expect(throws: MemoryError.self) { try space.store(UInt64(1), at: at) }
    #expect(machine[counter: "pgscan_direct"] > looked)
  }
}

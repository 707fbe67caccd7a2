import MemoryPressure
import Testing

@testable import HugeMemory

/// A limit that follows a control group. The test writes the group's files.
@Suite struct SystemBudgetTests {
  private func tree(max: UInt64?, usage: UInt64) throws -> FakeTree {
    try FakeTree(v2("/a", max: max, usage: usage) + ["/proc/self/cgroup": "0::/a\n"])
  }
  private func use(_ bytes: UInt64, in tree: FakeTree) throws {
    try tree.write("/sys/fs/cgroup/a/memory.current", "\(bytes)\n")
  }
  private func machine(_ tree: FakeTree, ceiling: UInt64? = nil) throws -> Machine {
    let machine = try Machine(limit: 2 * mib, capacity: 256 * mib, policy: Policy(huge: false))
    let budget = SystemBudget(ceiling: ceiling, group: try ControlGroup(in: tree.tree))
    machine.budget = budget
    budget.follow(machine)
    return machine
  }
  private func granted(_ machine: Machine) -> UInt64 { Machine.bytes(machine.arena.limit) }

  @Test func theLimitIsWhatIsLeftLessAMargin() throws {
    let tree = try tree(max: 64 * mib, usage: 16 * mib)
    let machine = try machine(tree)
    // A margin of 1/16 of the limit.
    #expect(machine.limit == 44 * mib)
    #expect(granted(machine) == 22 * mib, "half at a look")
    try use(40 * mib, in: tree)
    machine.budget!.follow(machine)
    #expect(machine.limit == 20 * mib && granted(machine) == 10 * mib)
    try use(62 * mib, in: tree)
    machine.budget!.follow(machine)
    #expect(machine.limit == 0 && granted(machine) == 0)
    try use(0, in: tree)
    machine.budget!.follow(machine)
    #expect(machine.limit == 60 * mib)
  }

  @Test func theMarginHasBounds() throws {
    let small = try tree(max: 16 * mib, usage: 0)
    #expect(try machine(small).limit == 12 * mib)
  }

  @Test func aSmallRestIsGrantedAsAWhole() throws {
    let tree = try tree(max: 64 * mib, usage: 57 * mib)
    let machine = try machine(tree)
    #expect(machine.limit == 3 * mib && granted(machine) == 3 * mib)
  }

  @Test func theCeilingHolds() throws {
    let tree = try tree(max: 64 * mib, usage: 0)
    let machine = try machine(tree, ceiling: 10 * mib)
    #expect(machine.limit == 10 * mib && granted(machine) == 10 * mib)
    machine.setLimit(24 * mib)
    #expect(machine.limit == 24 * mib && granted(machine) == 24 * mib)
    machine.setLimit(100 * mib)
    #expect(machine.limit == 60 * mib && granted(machine) == 30 * mib)
  }

  @Test func aWriteThatFindsTheGrantUsedUpLooksAgain() throws {
    let tree = try tree(max: 64 * mib, usage: 0)
    let machine = try machine(tree)
    do {
      let space = try machine.makeSpace(size: gib)
      #expect(granted(machine) == 30 * mib)
      try space.fill(1, at: 0, count: 20 * mib)
      try use(20 * mib, in: tree)
      // More than the first grant, but no more than there is.
      for at in 0..<UInt64(8) { try space.fill(1, at: 32 * mib + at * mib, count: mib) }
      try use(28 * mib, in: tree)
      for at in 0..<UInt64(8) { try space.fill(1, at: 64 * mib + at * mib, count: mib) }
      #expect(machine.memoryUsed > 36 * mib && granted(machine) > 30 * mib)
      // Another process took the rest.
      try use(64 * mib, in: tree)
      machine.budget!.follow(machine)
      #expect(throws: MemoryError.self) { try space.fill(1, at: 512 * mib, count: page) }
      #expect(try space.bytes(at: 0, count: 20 * mib).allSatisfy { $0 == 1 })
      try space.discard(at: 0, length: 20 * mib)
      try use(10 * mib, in: tree)
      try space.fill(2, at: 512 * mib, count: mib)
      #expect(try space.byte(at: 512 * mib) == 2)
    }
    machine.expectBaseline()
  }

  @Test func withoutALimitItIsTheCeilings() throws {
    let tree = try tree(max: nil, usage: 10 * mib)
    let machine = try machine(tree, ceiling: 8 * mib)
    #expect(machine.limit == 8 * mib)
  }

  @Test func aCeilingThatWouldBreakAPromiseIsRefused() throws {
    let tree = try tree(max: 64 * mib, usage: 0)
    let machine = try machine(tree)
    let space = try machine.makeSpace(size: gib)
    try space.setLimits(quota: nil, reserve: 20 * mib)
    #expect(!machine.setLimit(16 * mib, keepsPromises: true))
    #expect(machine.limit == 60 * mib && granted(machine) >= 20 * mib)
    #expect(machine.setLimit(24 * mib, keepsPromises: true))
    #expect(machine.limit == 24 * mib)
    // The group itself is short of memory. No promise can change that, and what is left goes to the
    // holder.
    try use(52 * mib, in: tree)
    machine.budget!.follow(machine)
    #expect(machine.limit == 8 * mib && granted(machine) == 8 * mib)
    let other = try machine.makeSpace(size: gib)
    #expect(throws: MemoryError.self) { try other.fill(1, at: 0, count: page) }
    try space.fill(1, at: 0, count: 4 * mib)
    #expect(machine.memoryPromised > 15 * mib && machine.memoryPromised < 16 * mib)
  }
}

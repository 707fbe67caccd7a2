import Glibc
import MemoryPressure
import Primitives
import Testing

@testable import HugeMemory

/// A machine as a program makes it, with only a limit. It looks after itself, and its background
/// ends with it.
@Suite struct BackgroundTests {
  /// A machine with the library's defaults, not with those of this target's tests.
  private func defaultMachine(limit: UInt64) throws -> Machine {
    try Machine(limit: limit, policy: Policy(), background: .own(pressure: nil))
  }

  /// Waits until `isSo` returns true. That takes a second, or longer on a busy computer.
  private func eventually(_ comment: Comment, _ isSo: () throws -> Bool) rethrows {
    let end = monotonicTime() + 60_000_000_000
    while try !isSo(), monotonicTime() < end { usleep(5000) }
    #expect(try isSo(), comment)
  }

  @Test func byDefaultMemoryIsUsedToThePage() throws {
    let machine = try defaultMachine(limit: 64 * mib)
    let space = try machine.makeSpace(size: gib)
    let stores: UInt64 = 2000
    // An odd factor, so no page comes twice.
    for index in 0..<stores {
      try space.store(index, at: index &* 0x9E3779B1 % (gib / page) * page)
    }
    #expect(machine.memoryUsed - machine.memoryTables == stores * page)
    #expect(machine.memoryUsed < 11 * mib)
    for index in 0..<stores {
      #expect(
        try space.load(at: index &* 0x9E3779B1 % (gib / page) * page, as: UInt64.self) == index)
    }
  }

  @Test func theDefaultAndLinuxsDifferInWhatTakesMemory() {
    var policy = Policy.linux
    #expect(policy.enabled == .always && policy.maxPtesNone == 511 && policy.maxPtesShared == 256)
    #expect(policy.pagesToScan == 4096 && policy.scanSleepMilliseconds == 10_000)
    policy.enabled = .collapse
    policy.maxPtesNone = 0
    policy.maxPtesShared = 0
    policy.pagesToScan = 16_384
    policy.scanSleepMilliseconds = 1000
    #expect(policy == Policy())
  }

  @Test func denseMemoryIsCollapsedAndTheZeroPageGoes() throws {
    let machine = try defaultMachine(limit: 64 * mib)
    let space = try machine.makeSpace(size: gib)
    for at in stride(from: 0, to: slot, by: Int(page)) {
      try space.fill(7, at: at, count: page)
    }
    _ = try space.byte(at: gib / 2)
    try eventually("a huge frame") { try space.pageState(at: 0).isHuge }
    #expect(try space.bytes(at: 0, count: slot).allSatisfy { $0 == 7 })
    try space.discard(at: 0, length: gib)
    eventually("nothing in use") { machine.zeroPageReferences == 0 && machine.memoryUsed == 0 }
    eventually("nothing kept from the system") { machine.memoryResident == 0 }
  }

  @Test func theThreadEndsWithTheLastReference() throws {
    var machine: Machine? = try defaultMachine(limit: 64 * mib)
    weak let observed = machine
    let signal = try #require(machine?.companion as? BackgroundThread).signal
    var space: AddressSpace? = try machine!.makeSpace(size: gib)
    machine = nil
    try space!.fill(1, at: 0, count: mib)
    usleep(250_000)
    #expect(observed != nil && !signal.hasEnded, "a space keeps its machine")
    #expect(try space!.byte(at: mib - 1) == 1)
    space = nil
    eventually("the machine is gone") { observed == nil }
    eventually("the thread is gone") { signal.hasEnded }
  }

  /// The thread then drops the last reference, or finds that the machine is gone.
  @Test func machinesMayGoInTheMiddleOfATurn() throws {
    var signals: [StopSignal] = []
    for round in 0..<UInt64(60) {
      let machine = try defaultMachine(limit: 16 * mib)
      signals.append(try #require(machine.companion as? BackgroundThread).signal)
      let space = try machine.makeSpace(size: gib)
      for at in 0..<UInt64(512) { try space.store(at, at: at * page) }
      let fork = try space.fork()
      try fork.store(round, at: round * page)
      usleep(UInt32(round) * 300)
    }
    eventually("no thread is left") { signals.allSatisfy(\.hasEnded) }
  }

  @Test func aKnobActsWithoutWaiting() throws {
    var policy = Policy()
    policy.scanSleepMilliseconds = 60_000
    let machine = try Machine(limit: 64 * mib, policy: policy, background: .own(pressure: nil))
    let space = try machine.makeSpace(size: slot)
    // After the first scan, which begins at once.
    usleep(300_000)
    for at in 0..<UInt64(512) { try space.store(at, at: at * page) }
    let start = monotonicTime()
    machine.tune { $0.scanSleepMilliseconds = 500 }
    try eventually("a huge frame") { try space.pageState(at: 0).isHuge }
    #expect(monotonicTime() - start < 30_000_000_000)
  }

  @Test func theBudgetIsTheLimitFromTheStart() throws {
    let tree = try FakeTree(
      v2("/a", max: 64 * mib, usage: 16 * mib) + ["/proc/self/cgroup": "0::/a\n"])
    let budget = SystemBudget(group: try ControlGroup(in: tree.tree))
    let machine = try Machine(
      limit: 2 * mib, capacity: 256 * mib, background: .own(budget: budget))
    #expect(machine.limit == 44 * mib)
  }

  @Test func withoutABackgroundThereIsNoThread() throws {
    let machine = try Machine(limit: 2 * mib, policy: Policy(), background: .none)
    #expect(machine.companion == nil)
  }
}

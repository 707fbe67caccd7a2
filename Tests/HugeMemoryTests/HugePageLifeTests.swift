import Testing

@testable import HugeMemory

/// What can happen to a huge page: it is split, queued, collapsed by the scanner or taken apart.
@Suite struct HugePageLifeTests {
  @Test func partsOfASharedFrameComeBackOnceNobodyMapsTheWhole() throws {
    let machine = try Machine(limit: 64 * mib)
    let space = try machine.makeSpace(size: slot)
    try space.fill(1, at: 0, count: slot)
    var fork: AddressSpace? = try space.fork()
    try space.discard(at: 0, length: slot / 2)
    machine.shrink()
    let shared = machine.memoryUsed
    #expect(shared > slot)
    #expect(machine[counter: "thp_deferred_split_page"] == 1)
    withExtendedLifetime(fork) {}
    fork = nil
    machine.shrink()
    #expect(machine.memoryUsed <= shared - slot / 2)
    #expect(machine[counter: "thp_split_page"] == 1)
    #expect(try space.byte(at: slot / 2) == 1)
    #expect(try space.byte(at: 0) == 0)
  }

  @Test func theScannerCollapsesWithinItsLimits() throws {
    let machine = try Machine(limit: 64 * mib, policy: Policy(huge: false))
    let space = try machine.makeSpace(size: gib)
    // Dense, half full, and shared.
    for start in [0, 100 * slot, 300 * slot] {
      try space.fill(7, at: start, count: start == 100 * slot ? slot / 2 : slot - page)
    }
    let fork = try space.fork()
    try space.fill(8, at: 0, count: slot - page)
    try space.fill(8, at: 100 * slot, count: slot / 2)
    machine.tune {
      $0.enabled = .collapse
      $0.maxPtesNone = 1
      $0.maxPtesShared = 0
    }
    var scanner = CollapseScanner(machine: machine)
    #expect(scanner.scan(entries: 100_000) == 1 && scanner.fullScans == 1)
    #expect(try space.pageState(at: 0).isHuge)
    #expect(try !space.pageState(at: 100 * slot).isHuge)
    machine.tune { $0.maxPtesNone = 511 }
    #expect(scanner.scan(entries: 512) == 1)
    #expect(scanner.fullScans == 1, "a portion ends before the spaces do")
    #expect(try space.pageState(at: 100 * slot).isHuge)
    #expect(try !space.pageState(at: 300 * slot).isHuge)
    machine.tune { $0.maxPtesShared = 511 }
    #expect(scanner.scan(entries: 100_000) >= 1)
    #expect(try space.pageState(at: 300 * slot).isHuge)
    #expect(try space.byte(at: 300 * slot) == 7)
    #expect(try fork.byte(at: 0) == 7)
    #expect(try space.byte(at: 0) == 8)
  }

  @Test func history17_theScannerSkipsZeros() throws {
    let machine = try Machine(limit: 64 * mib)
    let space = try machine.makeSpace(size: 8 * slot)
    for index: UInt64 in 0..<8 { _ = try space.byte(at: index * slot) }
    var scanner = CollapseScanner(machine: machine)
    #expect(scanner.scan(entries: 100_000) == 0)
    #expect(try space.pageState(at: 0) == PageState(kind: .zero, isHuge: true))
  }

  @Test func history20_pagesOfZerosGoBackOnce() throws {
    let machine = try Machine(limit: 64 * mib)
    let space = try machine.makeSpace(size: slot)
    try space.fill(5, at: 7 * page, count: page)
    #expect(try space.pageState(at: 0).isHuge)
    #expect(machine.splitUnderused() == 0, "by default every frame is used enough")
    machine.tune { $0.maxPtesNone = 100 }
    let before = machine.zeroPageReferences
    #expect(machine.splitUnderused() == 1)
    machine.settle()
    #expect(try space.pageState(at: 0) == PageState(kind: .zero, isHuge: false))
    #expect(try space.pageState(at: 7 * page) == PageState(kind: .data, isHuge: false))
    #expect(try space.byte(at: 7 * page) == 5)
    #expect(machine.zeroPageReferences == max(before, 1) + 1)
    // The data, two tables and the zero page.
    #expect(machine.memoryUsed == 3 * page + slot)
    #expect(machine.splitUnderused() == 0, "exactly once")
    try space.fill(6, at: 7 * page, count: 1)
    #expect(try space.byte(at: 7 * page) == 6)
  }

  @Test func history18_aWriteToTheZeroPageTakesAHugeFrameOrSplitsByPolicy() throws {
    let machine = try Machine(limit: 64 * mib)
    let space = try machine.makeSpace(size: 2 * slot)
    _ = try space.byte(at: 0)
    _ = try space.byte(at: slot)
    try space.fill(1, at: page, count: 1)
    #expect(try space.pageState(at: 0) == PageState(kind: .data, isHuge: true))
    machine.tune { $0.zeroWrite = .split }
    try space.fill(1, at: slot + page, count: 1)
    #expect(try space.pageState(at: slot) == PageState(kind: .zero, isHuge: false))
    #expect(try space.pageState(at: slot + page) == PageState(kind: .data, isHuge: false))
  }

  @Test func usageTellsHugeFromSmallAndZero() throws {
    let machine = try Machine(limit: 64 * mib)
    let space = try machine.makeSpace(size: 4 * slot)
    try space.fill(1, at: 0, count: 1)
    _ = try space.byte(at: slot)
    machine.tune { $0.enabled = .never }
    try space.fill(1, at: 2 * slot, count: 1)
    let usage = space.usage()
    #expect(usage.data == slot + page && usage.huge == slot && usage.zero == slot)
  }

  @Test func thePolicyTravelsInOneWord() {
    var policy = Policy.linux
    policy.enabled = .collapse
    policy.defrag = .never
    policy.useZeroPage = false
    policy.zeroWrite = .split
    policy.maxPtesNone = 17
    policy.maxPtesShared = 511
    policy.pagesToScan = 65535
    policy.scanSleepMilliseconds = 60000
    policy.shrinkUnderused = false
    policy.zeroReference = .neverFreed
    policy.followsLinux = true
    // Each field keeps its value when others are set.
    #expect(policy.enabled == .collapse && policy.defrag == .never)
    #expect(!policy.useZeroPage && policy.zeroWrite == .split)
    #expect(policy.maxPtesNone == 17 && policy.maxPtesShared == 511)
    #expect(policy.pagesToScan == 65535 && policy.scanSleepMilliseconds == 60000)
    #expect(!policy.shrinkUnderused && policy.zeroReference == .neverFreed && policy.followsLinux)
    #expect(Policy(word: policy.word) == policy)
    #expect(Policy(word: Policy().word) == Policy())
  }

  /// The scanner then holds the last reference, and `deinit` runs on its thread.
  @Test func aSpaceMayGoWhileAScannerIsAtIt() throws {
    let machine = try Machine(limit: 8 * mib)
    var space: AddressSpace? = try machine.makeSpace(size: slot)
    try space!.fill(1, at: 0, count: page)
    let handle = try #require(machine.scanList.handle(at: 0))
    let seen = handle.withSpace { scanned in
      space = nil
      return scanned.usage().data
    }
    #expect(seen == slot && handle.isDetached)
    machine.expectBaseline()
  }
}

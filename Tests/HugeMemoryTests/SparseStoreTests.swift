import Testing

@testable import HugeMemory

/// Stores of a few bytes, far from each other. If each takes a huge frame, memory gets short long
/// before the data fills it. No such store may be refused as long as there are zeros to give back.
@Suite struct SparseStoreTests {
  private static let stores: UInt64 = 2000
  /// A place for eight bytes in a slot of its own, on any page.
  private static func place(_ index: UInt64) -> UInt64 {
    index * slot + (index &* 0x9E37_79B9_7F4A_7C15 >> 43) % slot & ~7
  }

  @Test(arguments: [0, 255, 511] as [UInt16], [true, false])
  func hugeFramesOfZerosMakeRoomForStores(_ maxPtesNone: UInt16, _ isAlwaysHuge: Bool) throws {
    var policy = Policy(huge: true)
    policy.maxPtesNone = maxPtesNone
    policy.defrag = isAlwaysHuge ? .always : .madvise
    // Room for a page and a table for each store.
    let machine = try Machine(limit: 18 * mib, policy: policy)
    do {
      let space = try machine.makeSpace(size: Self.stores * slot)
      for index in 0..<Self.stores { try space.store(index + 1, at: Self.place(index)) }
      for index in 0..<Self.stores {
        #expect(try space.load(at: Self.place(index), as: UInt64.self) == index + 1)
      }
      #expect(machine[counter: "thp_underused_split_page"] > 0)
    }
    machine.expectBaseline()
  }

  @Test func manyThreadsStoresAreNotRefused() throws {
    let machine = try Machine(limit: 24 * mib)
    do {
      let space = try machine.makeSpace(size: Self.stores * slot)
      onThreads(4) { thread in
        for index in stride(from: UInt64(thread), to: Self.stores, by: 4) {
          #expect(throws: Never.self) { try space.store(index + 1, at: Self.place(index)) }
        }
      }
      for index in 0..<Self.stores {
        #expect(try space.load(at: Self.place(index), as: UInt64.self) == index + 1)
      }
    }
    machine.expectBaseline()
  }

  /// Nobody writes to the space that has the zeros, and its root is no longer shared.
  @Test func whatAForkThatIsGoneSharedMakesRoom() throws {
    let machine = try Machine(limit: 18 * mib)
    let origin = try machine.makeSpace(size: 8 * slot)
    for index in 0..<UInt64(8) { try origin.store(index + 1, at: Self.place(index)) }
    _ = try origin.fork()
    let space = try machine.makeSpace(size: Self.stores * slot)
    for index in 8..<Self.stores { try space.store(index + 1, at: Self.place(index)) }
    for index in 0..<UInt64(8) {
      #expect(try origin.load(at: Self.place(index), as: UInt64.self) == index + 1)
    }
  }

  /// Less than half of each frame is zeros. The last round takes those as well.
  @Test func ratherDenseFramesMakeRoomLastOfAll() throws {
    let machine = try Machine(limit: 16 * mib)
    do {
      let space = try machine.makeSpace(size: 10 * slot)
      for index: UInt64 in 0..<10 {
        for at in 0..<UInt64(340) { try space.store(at + 1, at: index * slot + at * page) }
      }
      for index: UInt64 in 0..<10 {
        for at in 0..<UInt64(340) {
          #expect(try space.load(at: index * slot + at * page, as: UInt64.self) == at + 1)
        }
      }
    }
    machine.expectBaseline()
  }

  /// Frames that became huge after a fruitless look are looked at, however soon after it.
  @Test func framesThatCameAfterAFruitlessLookMakeRoom() throws {
    let machine = try Machine(limit: 16 * mib)
    do {
      let space = try machine.makeSpace(size: Self.stores * slot)
      let dense = try machine.makeSpace(size: gib)
      machine.tune { $0.enabled = .never }
      _ = try DirectReclaimTests.fillUp(dense)
      machine.fruitless.until = .max
      machine.fruitless.changes = machine.changes.load(.relaxed) + 1
      try dense.discard(at: 0, length: gib)
      machine.tune { $0.enabled = .always }
      for index in 0..<UInt64(500) { try space.store(index + 1, at: Self.place(index)) }
      #expect(try space.load(at: Self.place(499), as: UInt64.self) == 500)
    }
    machine.expectBaseline()
  }

  @Test(arguments: [0, 511] as [UInt16])
  func aQuotaThatHugeFramesUsedUpHasRoom(_ maxPtesNone: UInt16) throws {
    var policy = Policy(huge: true)
    policy.maxPtesNone = maxPtesNone
    let machine = try Machine(limit: 256 * mib, policy: policy)
    do {
      let space = try machine.makeSpace(size: Self.stores * slot)
      let quota = 18 * mib
      try space.setLimits(quota: quota, reserve: nil)
      for index in 0..<Self.stores { try space.store(index + 1, at: Self.place(index)) }
      for index in 0..<Self.stores {
        #expect(try space.load(at: Self.place(index), as: UInt64.self) == index + 1)
      }
      #expect(space.charge <= quota && space.charge == space.usage().own)
    }
    machine.expectBaseline()
  }

  /// One tenant's quota is no reason to take apart another tenant's memory.
  @Test func aQuotaHasItsOwnFramesTakenApartAlone() throws {
    let machine = try Machine(limit: 64 * mib)
    let other = try machine.makeSpace(size: slot)
    try other.store(UInt64(1), at: 0)
    let space = try machine.makeSpace(size: gib)
    try space.setLimits(quota: 8 * mib, reserve: nil)
    var at: UInt64 = 0
    while (try? space.store(UInt64(1), at: at)) != nil { at += page }
    #expect(at > 7 * mib && machine[counter: "thp_underused_split_page"] == 0)
    #expect(try other.pageState(at: 0).isHuge)
  }

  @Test func aQuotaOfDenseMemoryIsLookedThroughOnceASecond() throws {
    let machine = try Machine(limit: 256 * mib)
    let space = try machine.makeSpace(size: gib)
    try space.setLimits(quota: 32 * mib, reserve: nil)
    var at: UInt64 = 0
    while (try? space.fill(1, at: at, count: page)) != nil { at += page }
    let look = try #require(space.limits).look
    #expect(look.notBefore > 0 && !look.hasNew)
    #expect(throws: MemoryError.overQuota(quota: 32 * mib)) {
      try space.fill(1, at: gib / 2, count: page)
    }
    // A new huge frame, with one page of data and zeros, is looked at immediately.
    space.lock.withLock { space.limits!.look.notBefore = .max }
    try space.discard(at: 0, length: slot)
    try space.store(UInt64(1), at: gib / 2)
    #expect(try space.pageState(at: gib / 2).isHuge)
    try space.fill(1, at: gib / 4, count: mib)
    #expect(try !space.pageState(at: gib / 2).isHuge)
    #expect(try space.bytes(at: slot, count: at - slot).allSatisfy { $0 == 1 })
  }

  /// Other looks end when their time is over; this one does not.
  @Test func aLookWithoutTimeStillTakesHugeFramesApart() throws {
    let machine = try Machine(limit: 18 * mib)
    machine.directReclaimTime = 0
    let space = try machine.makeSpace(size: Self.stores * slot)
    for index in 0..<Self.stores { try space.store(index + 1, at: Self.place(index)) }
    #expect(machine[counter: "thp_underused_split_page"] > 0)
    #expect(throws: MemoryError.self) { try space.fill(1, at: 0, count: 32 * mib) }
    #expect(machine.fruitlessSplit.until > 0, "not again for each refusal")
  }

  @Test func switchedOffNothingIsTakenApart() throws {
    var policy = Policy(huge: true)
    policy.shrinkUnderused = false
    let machine = try Machine(limit: 8 * mib, policy: policy)
    let space = try machine.makeSpace(size: gib)
    #expect(throws: MemoryError.outOfMemory(limit: 8 * mib)) {
      for index in 0..<Self.stores { try space.store(index + 1, at: Self.place(index)) }
    }
    #expect(machine[counter: "thp_underused_split_page"] == 0)
  }
}

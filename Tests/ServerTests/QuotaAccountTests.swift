import HugeMemory
import Testing

@testable import NBDServer

@Suite struct QuotaAccountTests {
  static let mib: UInt64 = 1 << 20
  static let quota = 8 * mib
  let disks: Disks

  init() throws {
    var policy = Policy()
    policy.enabled = .never
    disks = Disks(machine: try Machine(limit: 256 * Self.mib, policy: policy, background: .none))
    try disks.create("d", size: 1 << 30, limits: DiskLimits(quota: Self.quota))
  }

  /// Writes a page as a connection does. Returns false if the quota is used.
  private func write(_ name: String, page: UInt64) throws -> Bool {
    try change(name) { space throws(MemoryError) in try space.store(page, at: page * 4096) }
  }

  private func change(
    _ name: String, _ body: (AddressSpace) throws(MemoryError) -> Void
  ) throws -> Bool {
    let disk = try disks.lookup(name)
    for _ in 0..<100 {
      do throws(MemoryError) {
        try body(disk.space)
        return true
      } catch {
        guard case .overQuota = error else { throw error }
        if !disk.quota.extend() { return false }
      }
    }
    return false
  }

  /// Writes pages from `first` on until the quota is used. Returns the bytes written.
  private func fill(
    _ name: String, from first: UInt64 = 0, _ most: UInt64 = 1 << 28
  ) throws -> UInt64 {
    var page = first
    while (page - first) * 4096 < most, try write(name, page: page) { page += 1 }
    return (page - first) * 4096
  }

  /// The memory used, in bytes, without retired memory that waits for readers.
  private var used: UInt64 {
    disks.machine.settle()
    return disks.machine.memoryUsed
  }

  @Test func aForkByConnectingCountsForItsOriginsQuota() throws {
    #expect(try fill("d", 4 * Self.mib) == 4 * Self.mib)
    let fork = try disks.connect("d@mine").disk
    let taken = try fill("mine", from: 1 << 12)
    #expect((3 * Self.mib...4 * Self.mib).contains(taken))
    #expect(used <= Self.quota)
    #expect(try !write("d", page: 1 << 13) && !write("mine", page: 1 << 13))
    // Both disks show the same figures.
    #expect(try disks.lookup("d").limits.quota == Self.quota && fork.limits.quota == Self.quota)
    #expect(try disks.lookup("d").charge == fork.charge)
    #expect((fork.charge ?? 0) >= used && (fork.charge ?? 0) <= Self.quota)
  }

  @Test func whatOneDoesNotUseIsTheOthers() throws {
    _ = try disks.connect("d@mine")
    #expect(try fill("mine") > 7 * Self.mib)
    let mine = try disks.lookup("mine").space
    try mine.discard(at: 0, length: mine.size)
    #expect(try fill("d") > 7 * Self.mib)
    #expect(used <= Self.quota)
  }

  @Test func nothingIsFrozenByForkAfterFork() throws {
    // Each fork keeps memory that its origin had and is no longer charged for.
    for round in 0..<20 {
      _ = try fill("d", 2 * Self.mib)
      _ = try disks.connect("d@f\(round)")
    }
    #expect(used <= Self.quota)
  }

  @Test func whatAForkKeptComesBackWithItsEnd() throws {
    for _ in 0..<5 {
      _ = try fill("d", 3 * Self.mib)
      let temporary = try disks.connect("d@").disk.name
      _ = try fill(temporary)
      #expect(used <= Self.quota)
      disks.disconnect(temporary)
    }
    let space = try disks.lookup("d").space
    try space.discard(at: 0, length: space.size)
    #expect(try fill("d") > 7 * Self.mib)
    #expect(used <= Self.quota)
  }

  @Test func dataThatLivesOnInTheOriginStillCounts() throws {
    // Write, fork, write one page so that the tables are copied, and drop the fork. The charge of
    // the space does not count the rest then.
    for round in 0..<6 as Range<UInt64> {
      _ = try fill("d", from: round << 12, 2 * Self.mib)
      let temporary = try disks.connect("d@").disk.name
      _ = try write("d", page: round << 12)
      disks.disconnect(temporary)
    }
    #expect(used <= Self.quota)
  }

  @Test func aLongChainOfForksGoesAtOnce() throws {
    var last = "d"
    for number in 0..<20_000 {
      let name = "c\(number)"
      _ = try disks.connect("\(last)@\(name)")
      disks.disconnect(name)
      if last != "d" { try disks.remove([last]) }
      last = name
    }
    try disks.remove([last])
    #expect(try fill("d") > 7 * Self.mib)
  }

  @Test func theOwnersChangesAreEverybodys() throws {
    _ = try disks.connect("d@mine")
    #expect(try fill("mine") > 7 * Self.mib)
    try disks.limit("d", quota: .set(12 * Self.mib), reserve: .keep)
    #expect(try fill("mine", from: 1 << 14) > 3 * Self.mib)
    #expect(used <= 12 * Self.mib)
    // A reserve must fit into what the other members leave.
    #expect(throws: DiskError.self) {
      try disks.limit("d", quota: .keep, reserve: .set(2 * Self.mib))
    }
    try disks.limit("d", quota: .lift, reserve: .set(2 * Self.mib))
    #expect(try fill("mine", from: 1 << 15, 16 * Self.mib) == 16 * Self.mib)
    #expect(try disks.lookup("mine").limits.quota == nil)
    try disks.limit("d", quota: .set(12 * Self.mib), reserve: .keep)
    #expect(try !write("mine", page: 1 << 16), "what is there stays, no more is taken")
    #expect(try fill("d", Self.mib) == Self.mib, "its reserve is its own")
  }

  @Test func trimsOfSharedDataTakeFewTables() throws {
    // The image has one page in each 2 MiB, so a trim of that page takes a table and frees nothing.
    try disks.create("golden", size: 1 << 40)
    let golden = try disks.lookup("golden").space
    for slot in 0..<400 as Range<UInt64> {
      try golden.store(1, at: slot << 21)
      try golden.store(1, at: slot << 21 + 4096)
    }
    try disks.fork("golden", names: ["tenant"], limits: DiskLimits(quota: Self.mib))
    let before = used
    for name in ["tenant", "tenant@a", "tenant@b"] {
      let disk = try disks.connect(name).disk
      for slot in 0..<400 as Range<UInt64> {
        // Beyond some tables this is refused.
        try? disk.quota.discard(disk.space, at: slot << 21, length: 4096)
      }
      #expect(used <= before + Self.mib + 300 << 10)
    }
    // The memory can still be given back as a whole, and be used again.
    for name in ["a", "b"] {
      disks.disconnect(name)
      try disks.remove([name])
    }
    let disk = try disks.lookup("tenant")
    try disk.quota.discard(disk.space, at: 0, length: disk.size)
    #expect(try write("tenant", page: 7))
  }

  /// What a trim acknowledges reads as zeros, and its memory is free, also above the quota.
  @Test func aDiskAboveALoweredQuotaIsTrimmedInPieces() throws {
    try disks.create("large", size: 64 * Self.mib)
    #expect(try fill("large", 7 * Self.mib) == 7 * Self.mib)
    try disks.limit("large", quota: .set(Self.mib), reserve: .keep)
    let disk = try disks.lookup("large")
    let before = disk.space.usage().data
    for page in 0..<512 as Range<UInt64> where page % 2 == 0 {
      try disk.quota.discard(disk.space, at: page * 4096, length: 4096)
      #expect(try disk.space.load(at: page * 4096, as: UInt64.self) == 0)
    }
    #expect(disk.space.usage().data <= before - 256 * 4096)
  }

  @Test func aForkWithAQuotaOfItsOwnCountsForItself() throws {
    _ = try disks.connect("d@mine")
    try disks.limit("mine", quota: .set(2 * Self.mib), reserve: .keep)
    #expect(try fill("mine") < 2 * Self.mib)
    #expect(try fill("d") > 7 * Self.mib)
    #expect(try disks.lookup("mine").limits.quota == 2 * Self.mib)
  }

  /// Clients connect and write, and an administrator removes and resets disks. Whatever they do,
  /// the memory of all disks is within the quota after every step.
  @Test(arguments: 1...8 as ClosedRange<UInt64>)
  func randomOperationsStayWithinTheQuota(seed: UInt64) throws {
    var random = SplitMix(state: seed)
    var connected: [String] = []
    var highest: UInt64 = 0
    for step in 0..<3000 {
      let names = disks.list().map(\.name)
      let name = names[Int(random.next() % UInt64(names.count))]
      switch random.next() % 12 {
      case 0..<6: _ = try fill(name, from: random.next() % 4096, random.next() % (2 * Self.mib))
      case 6:
        let quota = try disks.lookup(name).quota
        let (at, length) = (random.next() % 4096 * 4096, random.next() % (8 * Self.mib))
        _ = try change(name) { space throws(MemoryError) in
          try quota.discard(space, at: at, length: length)
        }
      case 7:
        if !name.contains("@"), names.count < 20 {
          connected.append(try disks.connect("\(name)@s\(step)").disk.name)
        }
      case 8:
        if !name.contains("@"), names.count < 20 {
          connected.append(try disks.connect("\(name)@").disk.name)
        }
      case 9:
        if let gone = connected.randomElement(using: &random) {
          connected.removeAll { $0 == gone }
          disks.disconnect(gone)
        }
      case 10: if name != "d" { try? disks.remove([name]) }
      default: try? disks.reset(name)
      }
      highest = max(highest, used)
      // Trims may take some tables in addition.
      if used > Self.quota + UInt64(names.count) * 96 << 10 {
        Issue.record("seed \(seed), step \(step): \(used) bytes are used of \(Self.quota)")
        return
      }
    }
    #expect(highest > Self.quota / 2, "the quota was put to use")
    for name in connected { disks.disconnect(name) }
    try disks.remove(disks.list().map(\.name).filter { $0 != "d" })
    let space = try disks.lookup("d").space
    try space.discard(at: 0, length: space.size)
    #expect(try fill("d") > 7 * Self.mib, "all of it came back")
  }
}

private struct SplitMix: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
    return mixed ^ mixed >> 31
  }
}

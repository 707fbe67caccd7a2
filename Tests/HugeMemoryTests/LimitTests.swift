import Primitives
import Testing

@testable import HugeMemory

/// Quotas and reserves, and the charge that both are compared with, at every place that changes it.
@Suite(.serialized) struct LimitTests {
  // MARK: Quota

  @Test func aQuotaIsExactToThePageAndOnlyOneSpaces() throws {
    let machine = try Machine(limit: 32 * mib, policy: Policy(huge: false))
    let space = try machine.makeSpace(size: gib)
    let other = try machine.makeSpace(size: gib)
    // The tables and 10 pages.
    try space.fill(1, at: 0, count: 1)
    let tables = space.charge / page - 1
    let quota = (tables + 10) * page
    try space.setLimits(quota: quota + page - 1, reserve: nil)
    #expect(space.quota == quota && space.reserve == nil)
    for index in 1..<10 { try space.fill(1, at: UInt64(index) * page, count: page) }
    #expect(space.charge == quota)
    #expect(throws: MemoryError.overQuota(quota: quota)) {
      try space.fill(1, at: 10 * page, count: 1)
    }
    #expect(throws: MemoryError.overQuota(quota: quota)) {
      try space.fill(1, at: 512 * mib, count: 1)
    }
    #expect(space.charge == quota && space.usage().own == quota)
    // Memory that the space has can be written, everything can be read, and other spaces go on.
    try space.fill(2, at: 0, count: 10 * page)
    #expect(try space.bytes(at: 9 * page, count: 2 * page).last == 0)
    #expect(try space.byte(at: 700 * mib) == 0)
    try other.fill(1, at: 0, count: 8 * mib)
    // Discarding one page makes room for one page.
    try space.discard(at: 3 * page, length: page)
    #expect(throws: MemoryError.overQuota(quota: quota)) {
      try space.fill(1, at: 10 * page, count: 2 * page)
    }
    #expect(try space.byte(at: 10 * page) == 1)
    // The quota is raised, then lifted.
    try space.setLimits(quota: quota + page, reserve: nil)
    try space.fill(1, at: 11 * page, count: page)
    try space.setLimits(quota: nil, reserve: nil)
    try space.fill(1, at: 16 * mib, count: mib)
  }

  @Test func aQuotaTurnsHugeFramesIntoPages() throws {
    let machine = try Machine(limit: 32 * mib, policy: Policy(huge: true))
    let space = try machine.makeSpace(size: gib)
    try space.setLimits(quota: 3 * mib, reserve: nil)
    try space.fill(1, at: 0, count: slot)
    #expect(space.usage().huge == slot)
    #expect(throws: MemoryError.overQuota(quota: 3 * mib)) {
      try space.fill(1, at: slot, count: slot)
    }
    #expect(space.charge == 3 * mib && space.usage().own == 3 * mib)
    // Discarding a part of a huge frame takes a table beyond the quota.
    try space.discard(at: page, length: 2 * page)
    #expect(space.charge == 3 * mib - page && space.usage().own == 3 * mib - page)
  }

  @Test func everythingThatTakesMemoryHeedsTheQuota() throws {
    var policy = Policy(huge: false)
    policy.maxPtesNone = 511
    let machine = try Machine(limit: 32 * mib, policy: policy)
    let space = try machine.makeSpace(size: gib)
    try space.setLimits(quota: mib, reserve: nil)
    let refused = MemoryError.overQuota(quota: mib)
    #expect(throws: refused) { try space.zero(at: 0, length: slot, reserve: true) }
    #expect(space.charge == mib)
    #expect(throws: refused) { try space.advise(at: 0, length: slot, .collapse) }
    try space.discard(at: 0, length: slot)
    #expect(throws: refused) { try space.advise(at: 0, length: slot, .populateWrite) }
    #expect(space.charge == mib)
    // Reads of zeros need no table.
    try space.advise(at: 64 * mib, length: page, .populateRead)
    // A fork is not limited, and shared memory counts for no space.
    let fork = try space.fork()
    #expect(space.charge == 0 && fork.quota == nil && fork.charge == 0)
    try fork.fill(1, at: 0, count: slot)
  }

  @Test func aQuotaBoundsWhatAForkChanges() throws {
    let machine = try Machine(limit: 32 * mib, policy: Policy(huge: false))
    let golden = try machine.makeSpace(size: gib)
    try golden.fill(1, at: 0, count: 4 * mib)
    let fork = try golden.fork()
    try fork.setLimits(quota: mib, reserve: nil)
    var written: UInt64 = 0
    #expect(throws: MemoryError.overQuota(quota: mib)) {
      while true {
        try fork.fill(2, at: written, count: page)
        written += page
      }
    }
    #expect(fork.charge == mib && fork.usage().own == mib)
    #expect(written == mib - 2 * page, "all but the tables")
    #expect(try fork.byte(at: written) == 1 && golden.byte(at: 0) == 1)
    try fork.reset(to: golden)
    #expect(fork.charge == 0)
    try fork.fill(3, at: 0, count: page)
  }

  // MARK: Reserve

  @Test(arguments: [true, false]) func aReserveIsThereWhenAllElseIsFull(huge: Bool) throws {
    let machine = try Machine(limit: 16 * mib, policy: Policy(huge: huge))
    let hog = try machine.makeSpace(size: gib)
    let space = try machine.makeSpace(size: gib)
    try space.setLimits(quota: nil, reserve: 4 * mib)
    #expect(machine.memoryPromised == 4 * mib && space.reserve == 4 * mib)
    hog.fillAll()
    #expect(hog.usage().own <= 12 * mib)
    try space.fillUp(to: 4 * mib)
    #expect(machine.memoryPromised == 0)
    #expect(throws: MemoryError.outOfMemory(limit: 16 * mib)) {
      try space.fill(1, at: 512 * mib, count: page)
    }
    // What the space gives back stays promised to it, both at once and after the frames came back.
    try space.discard(at: 0, length: mib)
    hog.fillAll()
    try space.fillUp(to: 4 * mib)
    // Page by page, because a core's cache would keep such frames for any caller.
    for index in 0..<64 { try space.discard(at: mib + UInt64(index) * page, length: page) }
    machine.retired.drain(into: machine)
    hog.fillAll()
    try space.fillUp(to: 4 * mib)
  }

  @Test func aReserveThatCannotBePromisedIsRefused() throws {
    let machine = try Machine(limit: 16 * mib, policy: Policy(huge: false))
    let hog = try machine.makeSpace(size: gib)
    let space = try machine.makeSpace(size: gib)
    try hog.fill(1, at: 0, count: 12 * mib)
    #expect(throws: MemoryError.outOfMemory(limit: 16 * mib)) {
      try space.setLimits(quota: nil, reserve: 4 * mib)
    }
    #expect(throws: MemoryError.outOfMemory(limit: 16 * mib)) {
      try space.setLimits(quota: nil, reserve: .max)
    }
    #expect(throws: MemoryError.self) { try space.setLimits(quota: mib, reserve: mib + 1) }
    #expect(space.reserve == nil && machine.memoryPromised == 0)
    try space.setLimits(quota: nil, reserve: 3 * mib)
    // What the space has counts, and a lower reserve releases what is not used.
    try space.fill(1, at: 0, count: mib)
    #expect(machine.memoryPromised == 3 * mib - space.charge)
    try space.setLimits(quota: nil, reserve: 2 * mib)
    #expect(machine.memoryPromised == 2 * mib - space.charge)
    try space.setLimits(quota: nil, reserve: 1)
    #expect(machine.memoryPromised == 0 && space.reserve == page)
  }

  @Test func aLimitAndAReserveAtTheSameTimeDoNotBreakEachOther() throws {
    let machine = try Machine(limit: 64 * mib, policy: Policy(huge: false))
    let space = try machine.makeSpace(size: gib)
    #expect(machine.setLimit(32 * mib, keepsPromises: true), "nothing is promised")
    try space.setLimits(quota: nil, reserve: 20 * mib)
    #expect(!machine.setLimit(16 * mib, keepsPromises: true) && machine.limit == 32 * mib)
    #expect(machine.setLimit(20 * mib, keepsPromises: true))
    let limiter = startThread {
      for round in 0..<2000 {
        machine.setLimit(UInt64(16 + round % 2 * 16) * mib, keepsPromises: true)
      }
    }
    for round in 0..<2000 {
      try? space.setLimits(quota: nil, reserve: UInt64(1 + round % 2 * 20) * mib)
      #expect(machine.memoryPromised <= machine.limit)
    }
    limiter.join()
  }

  @Test func aForkOfAReservedSpaceNeedsTheReserveAgain() throws {
    let machine = try Machine(limit: 16 * mib, policy: Policy(huge: false))
    var hog: AddressSpace? = try machine.makeSpace(size: gib)
    let space = try machine.makeSpace(size: gib)
    try space.setLimits(quota: nil, reserve: 4 * mib)
    try space.fillUp(to: 4 * mib)
    try hog!.fill(1, at: 0, count: 9 * mib)
    #expect(throws: MemoryError.outOfMemory(limit: 16 * mib)) { _ = try space.fork() }
    #expect(space.charge == 4 * mib && machine.memoryPromised == 0)
    hog = nil
    var fork: AddressSpace? = try space.fork()
    #expect(space.charge == 0 && machine.memoryPromised == 4 * mib && fork?.reserve == nil)
    hog = try machine.makeSpace(size: gib)
    hog!.fillAll()
    try space.fill(2, at: 0, count: 2 * mib)
    try space.fillUp(to: 4 * mib)
    // Without the fork, everything is the space's own again.
    try space.discard(at: 0, length: gib)
    fork = nil
    try space.fillUp(to: 4 * mib)
    _ = fork
  }

  @Test func whatIsNotSharedAnyMoreCountsAgain() throws {
    let machine = try Machine(limit: 16 * mib, policy: Policy(huge: false))
    let space = try machine.makeSpace(size: gib)
    try space.fill(1, at: 0, count: 2 * mib)
    _ = try space.fork()
    #expect(space.charge == 0)
    // The whole tree counts again after the first write, or when limits are set.
    try space.setLimits(quota: 4 * mib, reserve: 3 * mib)
    #expect(space.charge == space.usage().own && space.charge > 2 * mib)
    #expect(machine.memoryPromised == 3 * mib - space.charge)
    _ = try space.fork()
    #expect(space.charge == 0 && machine.memoryPromised == 3 * mib)
    try space.fill(1, at: 0, count: 1)
    #expect(space.charge == space.usage().own)
    // Pages count one by one if the fork had copied the tables.
    var fork: AddressSpace? = try space.fork()
    try fork!.fill(1, at: 0, count: 1)
    fork = nil
    try space.fill(1, at: page, count: 2 * page)
    #expect(space.charge == 4 * page, "two tables, two pages")
  }

  @Test func promisesGoWithTheirSpaces() throws {
    let machine = try Machine(limit: 16 * mib, policy: Policy(huge: true))
    for written in [0, page, 5 * mib] {
      let space = try machine.makeSpace(size: gib)
      try space.setLimits(quota: nil, reserve: 4 * mib)
      try space.fill(1, at: 0, count: written)
      #expect(machine.memoryPromised == 4 * mib - min(4 * mib, space.charge))
    }
    #expect(machine.memoryPromised == 0)
    machine.expectBaseline()
  }

  // MARK: The machine's limit moves

  /// Frames in a core's cache already count as out, so they could be taken above the limit.
  @Test func aLowerLimitIsNotExceededByWhatTheCoresKeep() throws {
    let machine = try Machine(limit: 16 * mib, policy: Policy(huge: false))
    do {
      let space = try machine.makeSpace(size: gib)
      try space.fill(1, at: 0, count: page)
      #expect(machine.arena.framesCached > 0)
      let used = machine.memoryUsed
      machine.setLimit(used)
      #expect(machine.arena.framesCached == 0 && machine.memoryUsed == used)
      #expect(throws: MemoryError.outOfMemory(limit: used)) {
        try space.fill(1, at: page, count: page)
      }
      #expect(machine.memoryUsed == used)
    }
    machine.expectBaseline()
  }

  /// Each space can then have what was not promised to the others. A space without a promise gets
  /// nothing.
  @Test func aLimitBelowWhatIsPromisedLeavesEachWhatTheOthersDoNotHave() throws {
    let machine = try Machine(limit: 16 * mib, policy: Policy(huge: false))
    do {
      let hog = try machine.makeSpace(size: gib)
      let small = try machine.makeSpace(size: gib)
      let large = try machine.makeSpace(size: gib)
      try small.setLimits(quota: nil, reserve: 4 * mib)
      try large.setLimits(quota: nil, reserve: 6 * mib)
      machine.setLimit(8 * mib)
      #expect(machine.memoryPromised == 10 * mib)
      small.fillAll()
      #expect(small.charge == 2 * mib)
      large.fillAll()
      #expect(large.charge == 4 * mib)
      hog.fillAll()
      #expect(hog.charge == 0 && machine.memoryUsed == 6 * mib)
      #expect(throws: MemoryError.outOfMemory(limit: 8 * mib)) {
        try hog.setLimits(quota: nil, reserve: page)
      }
      // With a higher limit, each space has what it was promised.
      machine.setLimit(10 * mib)
      hog.fillAll()
      try small.fillUp(to: 4 * mib)
      try large.fillUp(to: 6 * mib)
      #expect(hog.charge == 0 && machine.memoryPromised == 0)
    }
    machine.expectBaseline()
  }

  @Test func reservesHoldAmongConcurrentHogs() throws {
    let machine = try Machine(limit: 24 * mib, policy: Policy(huge: true))
    let stop = AtomicWord(0)
    let hogs = (0..<2).map { index in
      startThread {
        var random = Random(seed: UInt64(index))
        while stop.load(.relaxed) == 0 {
          guard let space = try? machine.makeSpace(size: gib) else { continue }
          space.fillAll()
          for _ in 0..<8 {
            try? space.discard(at: random.below(20 * mib), length: random.below(2 * mib))
            space.fillAll()
          }
        }
      }
    }
    let failure = Failure()
    onThreads(2) { index in
      do {
        let space = try machine.makeSpace(size: gib)
        // Whether there is room at first is a matter of luck.
        while (try? space.setLimits(quota: nil, reserve: 5 * mib)) == nil {}
        var random = Random(seed: UInt64(100 + index))
        for _ in 0..<30 {
          try space.fillUp(to: 5 * mib)
          switch random.below(3) {
          case 0: try space.discard(at: 0, length: gib)
          // May need a table, and everything that was kept is used.
          case 1: try? space.discard(at: random.below(4 * mib), length: random.below(2 * mib))
          default:
            // A fork needs the whole reserve again, and there may not be enough.
            let fork = try? space.fork()
            if fork == nil { try space.discard(at: 0, length: gib) }
            try space.fill(3, at: random.below(mib), count: random.below(mib))
            _ = fork
          }
        }
      } catch { failure.set("\(error)") }
    }
    stop.store(1, .relaxed)
    for hog in hogs { hog.join() }
    #expect(failure.first == nil)
    #expect(machine.memoryPromised == 0)
    machine.expectBaseline()
  }
}

/// The first failure of several threads.
final class Failure: @unchecked Sendable {
  // Sendable: (L) under the lock.
  struct Text: Error { let text: String; init(_ text: String) { self.text = text } }
  private let lock = Lock()
  private var text: String?
  func set(_ text: String) { lock.withLock { self.text = self.text ?? text } }
  var first: String? { lock.withLock { text } }
}

extension AddressSpace {
  /// Writes from the start until there is no more memory.
  func fillAll() {
    var at: UInt64 = 0
    while (try? fill(7, at: at, count: 64 * kib)) != nil { at += 64 * kib }
    while (try? fill(7, at: at, count: page)) != nil { at += page }
  }

  /// Writes page by page until the charge is `bytes`.
  func fillUp(to bytes: UInt64) throws {
    var at: UInt64 = 0
    while charge < bytes {
      // The last frame may become a table, and then there is none for the page.
      do { try fill(9, at: at, count: page) } catch {
        let (charge, promised) = (charge, machine.memoryPromised)
        guard charge >= bytes else {
          throw Failure.Text("\(error), charge \(charge), used \(machine.memoryUsed), \(promised)")
        }
      }
      at += page
    }
  }
}

import Synchronization
import Testing

@testable import HugeMemory

/// A write that finds no memory: if some can be reclaimed, and if none can.
@Suite struct DirectReclaimTests {
  /// Fills a space page by page until a write is refused. Returns the number of pages written.
  static func fillUp(_ space: AddressSpace, from start: UInt64 = 0, _ value: UInt8 = 1) throws
    -> UInt64
  {
    var count: UInt64 = 0
    do {
      while true {
        try space.fill(value, at: start + count * page, count: page)
        count += 1
      }
    } catch MemoryError.outOfMemory {}
    return count
  }

  @Test func aFullMachineRefusesWithoutLookingAgainAndAgain() throws {
    let machine = try Machine(limit: 8 * mib, policy: Policy(huge: false))
    do {
      let space = try machine.makeSpace(size: gib)
      let count = try Self.fillUp(space)
      #expect(count > 1900)
      let scanned = machine[counter: "pgscan_direct"]
      let stalls = machine[counter: "allocstall"]
      for at: UInt64 in 0..<100 {
        #expect(throws: MemoryError.outOfMemory(limit: 8 * mib)) {
          try space.fill(1, at: gib / 2 + at * page, count: page)
        }
      }
      // Each of a hundred writes stalled, but memory was searched a few times at most.
      #expect(machine[counter: "allocstall"] - stalls == 100)
      #expect(machine[counter: "pgscan_direct"] - scanned < 40 * 2048)
      #expect(try space.bytes(at: 0, count: count * page).allSatisfy { $0 == 1 })
    }
    machine.expectBaseline()
  }

  @Test(arguments: [true, false]) func zerosMakeRoomForAWrite(_ isSparse: Bool) throws {
    let machine = try Machine(limit: 8 * mib, policy: Policy(huge: false))
    do {
      let space = try machine.makeSpace(size: 4 * gib)
      // Sparse: one table for each page, so that there is much more to search than pages.
      let stride = isSparse ? slot : page
      let zeros: UInt64 = 400
      for index in 0..<zeros {
        try space.fill(isSparse && index < 300 ? 1 : 0, at: index * stride, count: page)
      }
      // A search that runs out of time goes on at the next refusal.
      var count: UInt64 = 0
      for _ in 0..<30 { count += try Self.fillUp(space, from: 2 * gib + count * page) }
      let room = machine.limit / page
      // None of the pages of zeros is left.
      #expect(machine[counter: "zero_scan_page"] == (isSparse ? 100 : zeros))
      #expect(machine[counter: "pgsteal_direct"] > 0)
      #expect(count > room - (isSparse ? 620 : 20))
      #expect(try space.extents(at: 399 * stride, length: page).map(\.kind) == [.hole])
    }
    machine.expectBaseline()
  }

  @Test func halvesDiscardedInACompletelyFullMachineMakeRoom() throws {
    let machine = try Machine(limit: 64 * mib)
    do {
      let space = try machine.makeSpace(size: gib)
      for at in 0..<UInt64(3) { try space.fill(1, at: at * slot, count: slot) }
      machine.tune { $0.enabled = .never }
      _ = try Self.fillUp(space, from: 512 * mib)
      let used = machine.memoryUsed
      for at in 0..<UInt64(3) { try space.discard(at: at * slot, length: mib) }
      machine.reclaim()
      #expect(machine.memoryUsed < used - 2 * mib)
      try space.fill(2, at: 700 * mib, count: 2 * mib)
      for at in 0..<UInt64(3) {
        #expect(try space.bytes(at: at * slot, count: mib).allSatisfy { $0 == 0 })
        #expect(try space.bytes(at: at * slot + mib, count: mib).allSatisfy { $0 == 1 })
      }
    }
    machine.expectBaseline()
  }

  @Test func aUsersShrinkerIsAsked() throws {
    let machine = try Machine(limit: 4 * mib, policy: Policy(huge: false))
    do {
      let space = try machine.makeSpace(size: gib)
      let cache = try machine.makeSpace(size: gib)
      try cache.fill(1, at: 0, count: mib)
      let isCached = Atomic(true)
      let fake = FakeShrinker(objects: 256, batch: 64) { _ in
        guard isCached.exchange(false, ordering: .relaxed) else { return nil }
        try? cache.discard(at: 0, length: mib)
        return 256
      }
      let token = machine.shrinkers.register(fake)
      machine.reclaim()
      #expect(fake.asked != [], "by reclaim")
      isCached.store(true, ordering: .relaxed)
      try cache.fill(1, at: 0, count: mib)
      // 4 MiB, less the tables on two paths. This fits only without what the cache holds.
      try space.fill(2, at: 0, count: 3 * mib + 512 * kib)
      let isLeft = isCached.load(ordering: .relaxed)
      #expect(!isLeft, "by a write")
      #expect(machine.shrinkers.statistics.last!.freed >= 512)
      machine.shrinkers.unregister(token)
    }
    machine.expectBaseline()
  }

  /// The scan holds the registry's lock, which direct reclaim would need.
  @Test(arguments: [true, false]) func aShrinkerThatWritesIsRefused(_ isDirect: Bool) throws {
    let machine = try Machine(limit: 4 * mib, policy: Policy(huge: false))
    do {
      let space = try machine.makeSpace(size: gib)
      _ = try DirectReclaimTests.fillUp(space)
      machine.fruitless.until = 0
      let refused = Atomic(0)
      let fake = FakeShrinker(objects: 64) { _ in
        do { try space.fill(1, at: 512 * mib, count: page) } catch {
          refused.add(1, ordering: .relaxed)
        }
        return nil
      }
      let token = machine.shrinkers.register(fake)
      if isDirect {
        #expect(throws: MemoryError.self) { try space.fill(1, at: 700 * mib, count: page) }
      } else {
        machine.reclaim()
      }
      let refusals = refused.load(ordering: .relaxed)
      #expect(refusals > 0)
      machine.shrinkers.unregister(token)
    }
    machine.expectBaseline()
  }

  @Test func belowUseTheLimitStopsWritesAlone() throws {
    let machine = try Machine(limit: 16 * mib, policy: Policy(huge: false))
    do {
      let space = try machine.makeSpace(size: gib)
      try space.fill(1, at: 0, count: 8 * mib)
      machine.setLimit(4 * mib)
      #expect(machine.limit == 4 * mib && machine.memoryUsed > 8 * mib)
      #expect(throws: MemoryError.outOfMemory(limit: 4 * mib)) {
        try space.fill(1, at: 512 * mib, count: page)
      }
      #expect(try space.bytes(at: 0, count: 8 * mib).allSatisfy { $0 == 1 })
      // In place, so without a new frame.
      try space.fill(2, at: 0, count: page)
      try space.discard(at: slot, length: slot)
      #expect(try space.byte(at: slot) == 0)
      #expect(throws: MemoryError.self) { try space.fill(1, at: slot, count: page) }
      machine.setLimit(16 * mib)
      try space.fill(3, at: slot, count: mib)
      try space.fill(3, at: 512 * mib, count: mib)
      #expect(try space.byte(at: slot) == 3 && space.byte(at: 0) == 2)
    }
    machine.expectBaseline()
  }
}

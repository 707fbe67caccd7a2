import Foundation
import Paging
import Synchronization
import Testing

@testable import HugeMemory

@Suite struct ForkTests {
  @Test func aForkCostsNoFrame() throws {
    let machine = try Machine(limit: 64 * mib)
    do {
      let space = try machine.makeSpace(size: gib)
      try space.fill(1, at: 0, count: 3 * slot)
      let used = machine.memoryUsed
      let forks = try (0..<1000).map { _ in try space.fork() }
      #expect(machine.memoryUsed == used)
      #expect(try forks[999].byte(at: 2 * slot) == 1)
    }
    machine.expectBaseline()
  }

  @Test func aForkNeverAllocatesAZeroPage() throws {
    let machine = try Machine(limit: 64 * mib)
    let space = try machine.makeSpace(size: gib)
    _ = try space.byte(at: 0)
    let count = machine.zeroPageReferences
    let fork = try space.fork()
    #expect(machine.zeroPageReferences == count)
    // A read below shared tables maps nothing, and a write copies a table with its reference.
    _ = try fork.byte(at: slot)
    #expect(machine.zeroPageReferences == count)
    try fork.fill(1, at: 2 * slot, count: 1)
    #expect(machine.zeroPageReferences == count + 1)
    #expect(machine[counter: "thp_zero_page_alloc"] == 1)
    let empty = try machine.makeSpace(size: gib).fork()
    #expect(try empty.extents().map(\.kind) == [.hole])
  }

  @Test func aWriteAfterAForkCopiesOnePage() throws {
    for huge in [true, false] {
      let machine = try Machine(limit: 64 * mib, policy: Policy(huge: huge))
      do {
        let space = try machine.makeSpace(size: gib)
        try space.fill(1, at: 0, count: slot)
        let fork = try space.fork()
        let before = machine.memoryUsed
        try fork.fill(2, at: 5 * page + 1, count: 1)
        machine.settle()
        // The root, the slot's table and the page.
        #expect(machine.memoryUsed == before + 3 * page)
        #expect(machine[counter: "cow_page"] == 1)
        #expect(try fork.bytes(at: 5 * page, count: 3) == [1, 2, 1])
        #expect(try space.bytes(at: 5 * page, count: 3) == [1, 1, 1])
        // Then the origin writes. Its first write copies too, and later ones are in place.
        try space.fill(3, at: 5 * page, count: 2)
        try space.fill(4, at: 5 * page, count: 1)
        #expect(try space.bytes(at: 5 * page, count: 3) == [4, 3, 1])
        #expect(try fork.bytes(at: 5 * page, count: 3) == [1, 2, 1])
      }
      machine.expectBaseline()
    }
  }

  @Test func aForkOfAForkIsItsOwn() throws {
    let machine = try Machine(limit: 64 * mib, policy: Policy(huge: false))
    do {
      var line = [try machine.makeSpace(size: 4 * mib)]
      for generation in 1..<UInt8(8) {
        try line[0].fill(100 + generation, at: 9 * page, count: page)
        try line.last!.fill(generation, at: UInt64(generation) * page, count: page)
        line.append(try line.last!.fork())
      }
      for (index, space) in line.enumerated() {
        for generation in 1..<UInt8(8) {
          let seen = Int(generation) <= index + 1 && index < 7 || index == 7
          #expect(try space.byte(at: UInt64(generation) * page) == (seen ? generation : 0))
        }
      }
    }
    machine.expectBaseline()
  }

  @Test func theLastSharerWritesInPlace() throws {
    for huge in [true, false] {
      let machine = try Machine(limit: 64 * mib, policy: Policy(huge: huge))
      let space = try machine.makeSpace(size: gib)
      try space.fill(1, at: 0, count: slot)
      do {
        let fork = try space.fork()
        try fork.fill(2, at: 0, count: page)
      }
      machine.settle()
      let used = machine.memoryUsed
      try space.fill(3, at: page, count: 3 * page)
      machine.settle()
      #expect(machine.memoryUsed == used)
      #expect(machine[counter: "cow_page"] == 1)
    }
  }

  /// A fork is one point in time: a write that was past the root when the fork began lands before
  /// the fork returns. Otherwise the fork's contents would change later. Without the grace period
  /// in `share`, the fork would return while the section is still open.
  @Test func aForkWaitsForWritesOnTheirWay() throws {
    let machine = try Machine(limit: 16 * mib)
    do {
      let space = try machine.makeSpace(size: 4 * mib)
      try space.fill(1, at: 0, count: slot)
      let forked = Atomic(false)
      let section = machine.grace.enter()
      let entry = space.slot(0).entry
      let forker = startThread {
        let fork = try! space.fork()
        forked.store(true, ordering: .releasing)
        #expect(try! fork.byte(at: 0) == 2)
      }
      while Entry(raw: space.root.load(.acquire)).isWritable { sched_yield() }
      for _ in 0..<100 where !forked.load(ordering: .acquiring) {
        Thread.sleep(forTimeInterval: 0.0005)
      }
      let early = forked.load(ordering: .acquiring)
      #expect(!early)
      unsafe machine.arena.address(entry.frame).storeBytes(of: 2, as: UInt8.self)
      section.leave()
      forker.join()
    }
    machine.expectBaseline()
  }

  /// When the list of what waits for a grace period is full, it is drained under the space's lock.
  @Test func moreIsReplacedThanTheRetiredListHolds() throws {
    let machine = try Machine(limit: 128 * mib, policy: Policy(huge: false))
    do {
      let space = try machine.makeSpace(size: gib)
      let pages = UInt64(RetiredList.capacity) + 600
      for at in stride(from: 0, to: pages, by: 256) { try space.fill(1, at: at * page, count: mib) }
      let fork = try space.fork()
      for at in stride(from: 0, to: pages, by: 256) { try fork.fill(2, at: at * page, count: mib) }
      #expect(machine[counter: "cow_page"] >= UInt64(RetiredList.capacity))
      #expect(try space.byte(at: pages * page - 1) == 1 && fork.byte(at: pages * page - 1) == 2)
    }
    machine.expectBaseline()
  }

  @Test func resetDropsWhatWasWritten() throws {
    let machine = try Machine(limit: 64 * mib)
    do {
      let golden = try machine.makeSpace(size: gib)
      try golden.fill(1, at: 0, count: page)
      let space = try golden.fork()
      let used = machine.memoryUsed
      for value in 2..<UInt8(6) {
        try space.fill(value, at: 0, count: 3 * slot)
        try space.reset(to: golden)
        #expect(machine.memoryUsed == used)
        #expect(try space.bytes(at: 0, count: 2) == [1, 1] && space.byte(at: slot) == 0)
      }
      try space.reset(to: space)
      #expect(try space.byte(at: 0) == 1)
      let other = try machine.makeSpace(size: mib)
      #expect(throws: MemoryError.self) { try space.reset(to: other) }
      let elsewhere = try Machine(limit: 2 * mib).makeSpace(size: gib)
      #expect(throws: MemoryError.self) { try space.reset(to: elsewhere) }
    }
    machine.expectBaseline()
  }

  @Test func usageTellsOwnFromShared() throws {
    let machine = try Machine(limit: 64 * mib, policy: Policy(huge: false))
    let space = try machine.makeSpace(size: gib)
    try space.fill(1, at: 0, count: 10 * page)
    _ = try space.byte(at: slot)
    var expected = Usage()
    expected.data = 10 * page
    expected.zero = slot
    expected.tables = 2 * page
    expected.own = 12 * page
    #expect(space.usage() == expected)
    let fork = try space.fork()
    expected.own = 0
    expected.shared = 10 * page
    #expect(space.usage() == expected && fork.usage() == expected)
    try fork.fill(2, at: 0, count: page)
    machine.settle()
    expected.own = 3 * page
    expected.shared = 9 * page
    #expect(fork.usage() == expected)
    // The origin alone has its tables and its page 0.
    #expect(space.usage() == expected)
  }
}

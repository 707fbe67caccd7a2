import Foundation
import Synchronization
import Testing

@testable import HugeMemory

@Suite struct DiscardTests {
  @Test func discardGivesMemoryBackBeforeItReturns() throws {
    for huge in [true, false] {
      let machine = try Machine(limit: 64 * mib, policy: Policy(huge: huge))
      let space = try machine.makeSpace(size: 16 * mib)
      try space.fill(1, at: 0, count: 3 * slot)
      let used = machine.memoryUsed
      try space.discard(at: slot, length: slot)
      #expect(machine.memoryUsed == used - slot)
      #expect(try space.extents().map(\.kind) == [.data, .hole, .data, .hole])
      try space.discard(at: 0, length: space.size)
      #expect(machine.memoryUsed == 0)
      machine.expectBaseline()
    }
  }

  @Test func aPartOfAHugeFrameGoesByItself() throws {
    let machine = try Machine(limit: 64 * mib)
    let space = try machine.makeSpace(size: 16 * mib)
    try space.fill(1, at: 0, count: slot)
    let used = machine.memoryUsed
    try space.discard(at: 10 * page, length: 100 * page)
    #expect(machine.memoryUsed == used - 100 * page + page)
    #expect(machine[counter: "thp_split_page"] == 1)
    #expect(try space.extents().map(\.length).prefix(3) == [10 * page, 100 * page, 402 * page])
    try space.fill(2, at: 9 * page, count: 2 * page)
    #expect(try space.bytes(at: 8 * page, count: page).allSatisfy { $0 == 1 })
    #expect(try space.bytes(at: 9 * page, count: 2 * page).allSatisfy { $0 == 2 })
  }

  @Test func theEdgesOfUnalignedRangesAreCleared() throws {
    let machine = try Machine(limit: 64 * mib)
    let space = try machine.makeSpace(size: 4 * page + 100)
    for (offset, length) in [
      (100, 50), (100, 4096), (4095, 2), (1, 3 * 4096), (4096, 4097), (0, 1), (16383, 101),
      (16384, 100), (16400, 84), (16400, 10), (0, 16484),
    ] as [(UInt64, UInt64)] {
      try space.fill(1, at: 0, count: space.size)
      try space.discard(at: offset, length: length)
      let bytes = try space.bytes(at: 0, count: space.size)
      let range = offset..<offset + length
      #expect(bytes.enumerated().allSatisfy { $1 == (range.contains(UInt64($0)) ? 0 : 1) })
    }
    try space.discard(at: space.size, length: 0)
  }

  @Test func discardOfAForkLeavesTheOrigin() throws {
    for huge in [true, false] {
      let machine = try Machine(limit: 64 * mib, policy: Policy(huge: huge))
      do {
        let space = try machine.makeSpace(size: gib)
        try space.fill(1, at: 0, count: 2 * slot)
        let fork = try space.fork()
        try fork.discard(at: page, length: slot)
        #expect(try fork.byte(at: 0) == 1 && fork.byte(at: page) == 0)
        #expect(try fork.byte(at: slot + page) == 1)
        #expect(try space.bytes(at: 0, count: 2 * slot).allSatisfy { $0 == 1 })
      }
      machine.expectBaseline()
    }
  }

  @Test func discardOfSharedTablesCopiesOnlyWhatKeepsSomething() throws {
    let machine = try Machine(limit: 64 * mib, policy: Policy(huge: false))
    do {
      let space = try machine.makeSpace(size: 1 << 40)
      try space.fill(1, at: 3 * gib, count: 16 * page)
      let fork = try space.fork()
      // There is nothing in the range, so nothing is copied.
      try fork.discard(at: gib, length: gib)
      try fork.discard(at: 3 * gib + mib, length: mib)
      #expect(machine[counter: "cow_table"] == 0)
      // All of the slot's pages: only the root is copied, because the tables below keep nothing.
      try fork.discard(at: 3 * gib, length: mib)
      #expect(machine[counter: "cow_table"] == 1)
      #expect(try fork.extents().map(\.kind) == [.hole])
      // Some of the slot's pages: the path is copied.
      let other = try space.fork()
      try other.discard(at: 3 * gib, length: page)
      #expect(machine[counter: "cow_table"] == 5)
      #expect(try other.extents().map(\.kind) == [.hole, .data, .hole])
    }
    machine.expectBaseline()
  }

  @Test func discardWorksInAFullArena() throws {
    let machine = try Machine(limit: 3 * mib)
    do {
      let space = try machine.makeSpace(size: 8 * mib)
      try space.fill(1, at: 0, count: slot)
      #expect(throws: MemoryError.outOfMemory(limit: 3 * mib)) {
        try space.fill(2, at: slot, count: slot)
      }
      #expect(machine.memoryUsed == 3 * mib)
      // There is no frame for the table of a split, so the page is cleared in place.
      try space.discard(at: page, length: page)
      #expect(
        try space.bytes(at: 0, count: 3 * page).enumerated().allSatisfy {
          $1 == ($0 / 4096 == 1 ? 0 : 1)
        })
      try space.discard(at: slot, length: slot / 8)
      try space.discard(at: 0, length: space.size)
      #expect(machine.memoryUsed == 0)
    }
    machine.expectBaseline()
  }

  @Test func aDiscardThatFailsHasRemovedNothing() throws {
    let machine = try Machine(limit: 3 * mib, policy: Policy(huge: false))
    do {
      let space = try machine.makeSpace(size: 8 * mib)
      try space.fill(1, at: 0, count: mib)
      let fork = try space.fork()
      let other = try machine.makeSpace(size: 8 * mib)
      #expect(throws: MemoryError.outOfMemory(limit: 3 * mib)) {
        try other.fill(2, at: 0, count: 4 * mib)
      }
      #expect(throws: MemoryError.outOfMemory(limit: 3 * mib)) {
        try fork.discard(at: page, length: page)
      }
      #expect(try fork.byte(at: page) == 1)
      try fork.discard(at: 0, length: fork.size)
      #expect(try fork.byte(at: page) == 0 && space.byte(at: page) == 1)
    }
    machine.expectBaseline()
  }

  @Test func zeroWithReserveAllocatesAndWithoutDiscards() throws {
    let machine = try Machine(limit: 64 * mib, policy: Policy(huge: false))
    let space = try machine.makeSpace(size: 16 * mib)
    try space.fill(1, at: 0, count: 3 * page)
    try space.zero(at: 10, length: 5 * page, reserve: true)
    #expect(try space.extents()[0] == Extent(offset: 0, length: 6 * page, kind: .data))
    #expect(
      try space.bytes(at: 0, count: 5 * page).enumerated().allSatisfy {
        $1 == ($0 < 10 ? 1 : 0)
      })
    let used = machine.memoryUsed
    try space.fill(2, at: 10, count: 5 * page)
    #expect(machine.memoryUsed == used)
    try space.zero(at: page, length: 2 * page, reserve: false)
    #expect(machine.memoryUsed == used - 2 * page)
    #expect(try space.extents().prefix(3).map(\.kind) == [.data, .hole, .data])
  }

  /// A write goes on through a huge entry while that entry is split under a pin. Without the grace
  /// period at the end of `smallTable`, the page would be copied before the write lands, and the
  /// write would be lost.
  @Test func aSplitUnderAPinWaitsForWritesOnTheirWay() throws {
    let machine = try Machine(limit: 32 * mib)
    let space = try machine.makeSpace(size: 8 * mib)
    try space.fill(1, at: 0, count: slot)
    var pins = Pins(machine: machine, capacity: 4)
    try space.pin(at: 0, length: page, into: &pins)
    let copied = Atomic(false), open = Atomic(false)
    let writer = startThread {
      // This does slowly what `copyIn` does.
      let section = machine.grace.enter()
      let entry = space.slot(0).entry
      open.store(true, ordering: .releasing)
      while space.slot(0).entry == entry { Thread.sleep(forTimeInterval: 0.0001) }
      for _ in 0..<100 where !copied.load(ordering: .acquiring) {
        Thread.sleep(forTimeInterval: 0.001)
      }
      unsafe machine.arena.address(entry.frame).storeBytes(of: 2, as: UInt8.self)
      section.leave()
    }
    while !open.load(ordering: .acquiring) { Thread.sleep(forTimeInterval: 0.0001) }
    let discarder = startThread {
      try! space.discard(at: mib, length: page)
    }
    let other = startThread {
      while space.kind(mib, upTo: mib + page).kind != .hole {
        Thread.sleep(forTimeInterval: 0.0001)
      }
      try! space.fill(3, at: 1, count: 1)
      copied.store(true, ordering: .releasing)
    }
    for thread in [writer, discarder, other] { thread.join() }
    #expect(try space.bytes(at: 0, count: 3) == [2, 3, 1])
  }
}

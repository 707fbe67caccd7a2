import Foundation
import Frames
import Paging
import Synchronization
import Testing

@testable import HugeMemory

/// One test for each item of the zero page's history that concerns this layer. Each comment names a
/// change that puts the bug back; the test fails with that change.
@Suite struct HistoryTests {
  /// Put back by `if true { return freeSmall(frame) }` in `Arena.free`.
  @Test func history1_aFreedZeroPageIsFreedWhole() throws {
    let machine = try Machine(limit: 5 * mib)
    let space = try machine.makeSpace(size: slot)
    for _ in 0..<20 {
      _ = try space.byte(at: 0)
      #expect(machine.memoryUsed == slot + page)
      try space.discard(at: 0, length: slot)
      machine.shrink()
      #expect(machine.memoryUsed == 0)
    }
  }

  /// Put back by leaving out the check of the entry in `mapZero` (`guard table[index]…`).
  @Test(arguments: [Policy.ZeroReference.perTable, .perMapping])
  func history2_theSecondFaultOfAPlaceFindsTheFirsts(_ reference: Policy.ZeroReference) throws {
    let machine = try Machine(
      limit: 16 * mib, policy: Policy(huge: false, reference: reference))
    do {
      let space = try machine.makeSpace(size: 2 * slot)
      try space.fill(1, at: 0, count: 1)
      for at in [page, slot] {
        let before = machine.zeroPageReferences
        try space.readFault(at)
        let after = machine.zeroPageReferences
        #expect(after == max(before, 1) + 1)
        // Two threads found the place untouched. This is the slower one.
        try space.readFault(at)
        #expect(machine.zeroPageReferences == after)
      }
      // Data that came first stays.
      try space.readFault(0)
      #expect(try space.byte(at: 0) == 1)
    }
    machine.expectBaseline()
  }

  /// Put back by leaving out the loser's `put` at the end of `readFault`.
  @Test func history2_theLoserPutsItsReference() throws {
    let machine = try Machine(limit: 64 * mib, policy: Policy(reference: .perMapping))
    do {
      let space = try machine.makeSpace(size: gib)
      let turn = Atomic(0)
      onThreads(4) { _ in
        for index in 0..<512 {
          turn.add(1, ordering: .sequentiallyConsistent)
          var spins = 0
          while turn.load(ordering: .sequentiallyConsistent) < 4 * (index + 1) {
            spins += 1
            if spins > 100 { sched_yield() }
          }
          _ = try? space.readFault(UInt64(index) * slot)
        }
      }
      #expect(machine.zeroPageReferences == 513)
    }
    machine.expectBaseline()
  }

  /// Put back by leaving out the `getHeld` of the fallback (`case .zero` in `smallTable`), or by
  /// a `table.set` instead of its `replace`.
  @Test(arguments: Policy.ZeroReference.allCases)
  func history3_theFallbackOfAWriteBalances(_ reference: Policy.ZeroReference) throws {
    let machine = try Machine(limit: 3 * mib, policy: Policy(reference: reference))
    do {
      let space = try machine.makeSpace(size: slot)
      _ = try space.byte(at: 0)
      let used = machine.memoryUsed
      try space.fill(1, at: 0, count: 1)
      machine.settle()
      #expect(space.usage().data == page)
      #expect(machine.memoryUsed == used + 2 * page)
      #expect(machine.zeroPageReferences == (reference == .perMapping ? 512 : 2))
      // A path that fails undoes everything it did (invariant 11).
      let other = try machine.makeSpace(size: 2 * slot)
      #expect(throws: MemoryError.outOfMemory(limit: 3 * mib)) {
        try other.fill(1, at: 0, count: 2 * slot)
      }
    }
    machine.expectBaseline()
  }

  /// A reader decides on one loaded value while the entry goes from huge to a table to zero. Put
  /// back by a second look in `copyOut`: `self.slot(offset).entry.frame` in its `memcpy`.
  @Test func history5_aReaderDecidesOnOneLoadedValue() throws {
    let machine = try Machine(limit: 32 * mib)
    let space = try machine.makeSpace(size: slot)
    let done = Atomic(false)
    let reader = startThread {
      while !done.load(ordering: .relaxed) {
        // The first page, because a table mistaken for a huge frame would show its entries here.
        var word: UInt64 = 0
        try! unsafe withUnsafeMutableBytes(of: &word) { try unsafe space.read(at: 64, into: $0) }
        if word != 0 && word != 0x5a5a_5a5a_5a5a_5a5a {
          Issue.record("read \(String(word, radix: 16))")
          return
        }
      }
    }
    let whole = [UInt8](repeating: 0x5a, count: Int(slot))
    for _ in 0..<1000 {
      try space.write(whole, at: 0)
      try space.discard(at: page, length: page)
      try space.discard(at: 0, length: slot)
      _ = try space.byte(at: 0)
    }
    done.store(true, ordering: .relaxed)
    reader.join()
  }

  /// Put back by `zeroPage.put(count: before - after)` in `replace` instead of its `retire`.
  @Test func history6_theZeroPageIsPutAfterTheGracePeriod() throws {
    let machine = try Machine(limit: 32 * mib)
    do {
      let space = try machine.makeSpace(size: 2 * slot)
      _ = try space.byte(at: 0)
      let section = machine.grace.enter()
      #expect(space.slot(0).entry == .zero)
      // The write replaces the zero entry and returns, but this section may still use it.
      let writer = startThread { try! space.fill(1, at: 0, count: 1) }
      writer.join()
      #expect(space.slot(0).entry.kind == .huge)
      #expect(machine.zeroPageReferences == 2)
      #expect(machine.zeroPage.shrinkerCount() == 0)
      #expect(machine.zeroPage.shrinkerScan(to: machine.zeroFrames) == 0)
      let shrinker = startThread { machine.shrink() }
      for _ in 0..<1000 { sched_yield() }
      #expect(machine.zeroPageReferences == 2)
      section.leave()
      shrinker.join()
      #expect(machine.zeroPageReferences == 0)
    }
    machine.expectBaseline()
  }

  /// Put back by `machine.dispose` instead of `machine.retire` in `AddressSpace.retire`.
  @Test func history6_framesAreFreedAfterTheGracePeriod() throws {
    let machine = try Machine(limit: 32 * mib)
    let space = try machine.makeSpace(size: 2 * slot)
    try space.fill(1, at: 0, count: slot)
    let used = machine.memoryUsed
    let section = machine.grace.enter()
    let entry = space.slot(0).entry
    let discarder = startThread { try! space.discard(at: 0, length: slot) }
    while space.slot(0).entry == entry { sched_yield() }
    for _ in 0..<1000 { sched_yield() }
    #expect(machine.memoryUsed == used && machine.arena.references(entry.frame) == 1)
    #expect(unsafe machine.arena.address(entry.frame).load(as: UInt8.self) == 1)
    section.leave()
    discarder.join()
    #expect(machine.memoryUsed < used)
  }

  /// Put back by `table.set(index, Entry(.zero, 0, writable: true))` in `mapZero`.
  @Test func history9_aZeroEntryIsNeverDirtyOrWritable() throws {
    let machine = try Machine(limit: 32 * mib, policy: Policy(huge: false))
    let space = try machine.makeSpace(size: gib)
    _ = try space.byte(at: 0)
    _ = try space.byte(at: slot)
    try space.fill(1, at: slot + page, count: page)
    try space.fill(1, at: 2 * slot, count: page)
    _ = try space.byte(at: 2 * slot + page)
    let fork = try space.fork()
    try fork.fill(2, at: slot + 2 * page, count: page)
    try space.fill(2, at: slot + 3 * page, count: page)
    for each in [space, fork] {
      let zeros = each.entries().filter { $0.kind == .zero }
      #expect(zeros.count > 500)
      #expect(zeros.allSatisfy { $0.raw == Entry.zero.raw && !$0.isWritable })
    }
    #expect(machine.zeroPage.snapshot().frame != 0)
  }

  /// Put back by leaving out the `hm_protect` of `allocateZeroFrame`.
  @Test func history9_aStrayWriteToTheZeroPageFaults() async {
    await #expect(processExitsWith: .failure) {
      let machine = try Machine(limit: 32 * mib)
      let frame = machine.getZeroPage()!
      unsafe machine.arena.address(frame + 511).storeBytes(of: 1, as: UInt8.self)
    }
  }

  /// Put back by `case .zero: .data` in the walk, or by counting `.zero` in `usage`.
  @Test func history16_holesZeroAndDataAreToldApart() throws {
    let machine = try Machine(limit: 32 * mib, policy: Policy(huge: false))
    let space = try machine.makeSpace(size: 5 * slot)
    try space.fill(1, at: 0, count: page)
    _ = try space.byte(at: page)
    _ = try space.byte(at: 2 * slot)
    try space.fill(1, at: 4 * slot - page, count: 2 * page)
    #expect(
      try space.extents() == [
        Extent(offset: 0, length: page, kind: .data),
        Extent(offset: page, length: page, kind: .zero),
        Extent(offset: 2 * page, length: 2 * slot - 2 * page, kind: .hole),
        Extent(offset: 2 * slot, length: slot, kind: .zero),
        Extent(offset: 3 * slot, length: slot - page, kind: .hole),
        Extent(offset: 4 * slot - page, length: 2 * page, kind: .data),
        Extent(offset: 4 * slot + page, length: slot - page, kind: .hole),
      ])
    let usage = space.usage()
    #expect(usage.data == 3 * page && usage.own == usage.data + usage.tables)
  }
}

extension AddressSpace {
  /// All entries of all tables, in no particular order.
  func entries() -> [Entry] {
    var found: [Entry] = []
    func collect(_ entry: Entry) {
      guard entry.kind == .table else { return }
      let table = Table(entry.frame, in: arena)
      for index in 0..<Table.count where table[index].kind != .none {
        found.append(table[index])
        collect(table[index])
      }
    }
    lock.withLock { collect(Entry(raw: root.load(.acquire))) }
    return found
  }
}

import Testing

@testable import HugeMemory

/// What reads and writes of untouched memory and of the zero page map.
@Suite struct FaultTests {
  @Test func aReadMapsTheZeroPageOnce() throws {
    let machine = try Machine(limit: 64 * mib)
    do {
      let space = try machine.makeSpace(size: 8 * mib)
      #expect(machine.memoryUsed == 0 && machine.zeroPageReferences == 0)
      for _ in 0..<3 { #expect(try space.bytes(at: 5, count: 3 * page).allSatisfy { $0 == 0 }) }
      #expect(try space.byte(at: 3 * slot) == 0)
      #expect(machine.zeroPageReferences == 2)
      #expect(machine.memoryUsed == slot + page)
      #expect(machine[counter: "thp_zero_page_alloc"] == 1)
      // Once the page is mapped, it causes no more faults.
      #expect(machine[counter: "pgfault"] == 2)
    }
    machine.expectBaseline()
    #expect(machine[counter: "thp_zero_page_free"] == 1)
  }

  @Test func aReadTakesAFrameOfItsOwnWithoutTheZeroPage() throws {
    let machine = try Machine(limit: 64 * mib, policy: Policy(zero: false))
    let space = try machine.makeSpace(size: 8 * mib)
    #expect(try space.byte(at: 0) == 0)
    #expect(machine.memoryUsed == slot + page && machine.zeroPageReferences == 0)
  }

  @Test func aReadWithoutRoomForAZeroPageReadsZerosAndIsCounted() throws {
    let machine = try Machine(limit: 2 * mib, policy: Policy(huge: false))
    do {
      let space = try machine.makeSpace(size: 8 * mib)
      try space.fill(7, at: 0, count: 1)
      #expect(try space.byte(at: slot) == 0)
      #expect(machine[counter: "thp_zero_page_alloc_failed"] >= 1)
      #expect(machine[counter: "thp_fault_fallback"] >= 1)
      #expect(try space.extents(at: slot, length: slot).map(\.kind) == [.hole])
    }
    machine.expectBaseline()
  }

  @Test func aWriteOfUntouchedMemoryTakesAHugeFrameAndNoZeroPage() throws {
    let machine = try Machine(limit: 64 * mib)
    let space = try machine.makeSpace(size: 8 * mib)
    try space.fill(1, at: slot + 9, count: 1)
    #expect(machine.memoryUsed == slot + page)
    #expect(machine[counter: "thp_fault_alloc"] == 1)
    #expect(machine[counter: "thp_zero_page_alloc"] == 0)
    #expect(try space.bytes(at: slot + 8, count: 3) == [0, 1, 0])
  }

  @Test func aWriteWithoutHugePagesTakesWhatItTouches() throws {
    let machine = try Machine(limit: 64 * mib, policy: Policy(huge: false))
    let space = try machine.makeSpace(size: 8 * mib)
    try space.fill(1, at: slot + page - 1, count: 2)
    #expect(try space.extents().map(\.kind) == [.hole, .data, .hole])
    #expect(try space.extents()[1].length == 2 * page)
    #expect(machine.memoryUsed == 4 * page)
  }

  @Test func aWriteToTheZeroPageTakesAHugeFrameAndPutsTheReference() throws {
    let machine = try Machine(limit: 64 * mib)
    do {
      let space = try machine.makeSpace(size: 8 * mib)
      _ = try space.byte(at: 0)
      try space.fill(1, at: page, count: page)
      machine.settle()
      #expect(machine.zeroPageReferences == 1)
      #expect(machine.shrink() == slot)
      #expect(machine.memoryUsed == slot + page)
      #expect(try space.extents().map(\.kind) == [.data, .hole])
      #expect(try space.byte(at: 0) == 0 && space.byte(at: page) == 1)
    }
    machine.expectBaseline()
  }

  @Test(arguments: Policy.ZeroReference.allCases)
  func withoutAHugeFrameAWriteToTheZeroPageMapsOnePageAndSmallZeros(
    _ reference: Policy.ZeroReference
  ) throws {
    let machine = try Machine(limit: 3 * mib, policy: Policy(reference: reference))
    do {
      let space = try machine.makeSpace(size: slot)
      _ = try space.byte(at: 0)
      try space.fill(1, at: 3 * page, count: page)
      machine.settle()
      #expect(
        try space.extents() == [
          Extent(offset: 0, length: 3 * page, kind: .zero),
          Extent(offset: 3 * page, length: page, kind: .data),
          Extent(offset: 4 * page, length: slot - 4 * page, kind: .zero),
        ])
      #expect(machine.zeroPageReferences == (reference == .perMapping ? 512 : 2))
      #expect(machine[counter: "thp_fault_fallback"] == 1)
      #expect(machine[counter: "thp_split_pmd"] == 1)
      #expect(machine.memoryUsed == slot + 3 * page)
    }
    machine.expectBaseline()
  }

  @Test func aTablesLastZeroEntryPutsItsReference() throws {
    let machine = try Machine(limit: 64 * mib, policy: Policy(huge: false))
    let space = try machine.makeSpace(size: 2 * slot)
    try space.fill(1, at: 0, count: page)
    for index in 1..<UInt64(3) { _ = try space.byte(at: index * page) }
    #expect(machine.zeroPageReferences == 2)
    try space.fill(2, at: page, count: page)
    machine.settle()
    #expect(machine.zeroPageReferences == 2)
    try space.fill(3, at: 2 * page, count: page)
    machine.settle()
    #expect(machine.zeroPageReferences == 1)
  }

  @Test func aWholeSlotTakesAFreshFrameWhateverWasThere() throws {
    for huge in [true, false] {
      let machine = try Machine(limit: 64 * mib, policy: Policy(huge: huge))
      do {
        let space = try machine.makeSpace(size: 8 * mib)
        try space.fill(1, at: page, count: page)
        let fork = try space.fork()
        try fork.fill(2, at: 0, count: slot)
        try fork.fill(3, at: slot, count: slot)
        #expect(machine[counter: "cow_page"] == 0)
        #expect(machine[counter: "thp_fault_alloc"] == (huge ? 3 : 2))
        #expect(
          try fork.extents() == [
            Extent(offset: 0, length: 2 * slot, kind: .data),
            Extent(offset: 2 * slot, length: 2 * slot, kind: .hole),
          ])
        #expect(try space.bytes(at: page, count: 1) == [1] && space.byte(at: slot) == 0)
      }
      machine.expectBaseline()
    }
  }

  @Test func whatWaitsForAGracePeriodIsNoReasonToFailAWrite() throws {
    // Every round retires a huge frame, and there is room for three.
    let machine = try Machine(limit: 7 * mib)
    let space = try machine.makeSpace(size: slot)
    try space.fill(1, at: 0, count: slot)
    for round in 0..<UInt8(20) {
      let fork = try space.fork()
      try space.fill(round, at: 0, count: slot)
      #expect(try fork.byte(at: 0) == (round == 0 ? 1 : round - 1))
    }
    #expect(try space.byte(at: 0) == 19)
    // All small pages, and the same number of retired ones.
    let small = try Machine(limit: 3 * mib, policy: Policy(huge: false))
    let other = try small.makeSpace(size: mib)
    try other.fill(1, at: 0, count: mib)
    for round in 0..<UInt8(5) {
      let fork = try other.fork()
      try other.fill(round, at: 0, count: mib)
      #expect(try fork.byte(at: 0) == (round == 0 ? 1 : round - 1))
    }
    #expect(try other.bytes(at: 0, count: mib).allSatisfy { $0 == 4 })
  }

  @Test func anUnusedZeroPageIsNoReasonToFailAWrite() throws {
    let machine = try Machine(limit: 3 * mib, policy: Policy(huge: false))
    do {
      let reader = try machine.makeSpace(size: slot)
      _ = try reader.byte(at: 0)
    }
    #expect(machine.zeroPageReferences == 1)
    let space = try machine.makeSpace(size: slot)
    try space.fill(1, at: 0, count: slot)
    #expect(machine.zeroPageReferences == 0)
  }
}

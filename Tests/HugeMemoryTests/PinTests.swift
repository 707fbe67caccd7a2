import Testing

@testable import HugeMemory

@Suite struct PinTests {
  private func contents(_ pins: borrowing Pins) -> [UInt8] {
    var bytes: [UInt8] = []
    for index in 0..<pins.count { unsafe bytes.append(contentsOf: pins[index]) }
    return bytes
  }

  @Test func pinsOutliveWhatTheyWerePinnedFrom() throws {
    for huge in [true, false] {
      let machine = try Machine(limit: 16 * mib, policy: Policy(huge: huge))
      do {
        var space: AddressSpace? = try machine.makeSpace(size: 8 * mib)
        try space!.fill(1, at: page, count: 2 * page)
        var pins = Pins(machine: machine, capacity: 16)
        try space!.pin(at: page, length: 2 * page, into: &pins)
        #expect(pins.room == (huge ? 15 : 14))
        try space!.discard(at: 0, length: slot)
        // Takes and fills frames until none is left. None of them may be the pinned one.
        let other = try machine.makeSpace(size: gib)
        #expect(throws: MemoryError.outOfMemory(limit: 16 * mib)) {
          for at in 0..<UInt64(64) { try other.fill(9, at: at * mib, count: mib) }
        }
        space = nil
        machine.shrink()
        #expect(contents(pins) == [UInt8](repeating: 1, count: 8192))
        pins.release()
        #expect(pins.count == 0 && pins.room == 16)
      }
      machine.expectBaseline()
    }
  }

  @Test func pinsKeepAnOverwrittenFramesOldContents() throws {
    let machine = try Machine(limit: 32 * mib)
    do {
      let space = try machine.makeSpace(size: 8 * mib)
      try space.fill(1, at: 0, count: slot)
      var pins = Pins(machine: machine, capacity: 600)
      try space.pin(at: 0, length: slot, into: &pins)
      #expect(pins.count == 1)
      let fork = try space.fork()
      try fork.fill(2, at: 0, count: page)
      try space.fill(3, at: page, count: page)
      // Both writes copied the page, so the frame itself is unchanged.
      machine.shrink()
      #expect(contents(pins).allSatisfy { $0 == 1 })
    }
    machine.expectBaseline()
  }

  @Test func aSplitUnderAPinKeepsTheFrameWhole() throws {
    let machine = try Machine(limit: 32 * mib)
    do {
      let space = try machine.makeSpace(size: 8 * mib)
      try space.fill(1, at: 0, count: slot)
      var pins = Pins(machine: machine, capacity: 600)
      try space.pin(at: 0, length: slot, into: &pins)
      try space.discard(at: page, length: 3 * page)
      #expect(machine[counter: "thp_split_pmd"] == 1 && machine[counter: "thp_split_page"] == 0)
      try space.fill(2, at: 0, count: page)
      #expect(contents(pins).allSatisfy { $0 == 1 })
      #expect(try space.byte(at: 0) == 2 && space.byte(at: page) == 0 && space.byte(at: mib) == 1)
    }
    machine.expectBaseline()
  }

  @Test func holesArePiecesOfTheZeroPage() throws {
    let machine = try Machine(limit: 32 * mib, policy: Policy(huge: false))
    do {
      let space = try machine.makeSpace(size: 8 * mib)
      try space.fill(1, at: 7 * page, count: page)
      var pins = Pins(machine: machine, capacity: 1100)
      try space.pin(at: 100, length: 2 * slot, into: &pins)
      // Zeros, the page, zeros to the end of the slot, the next slot, and its rest.
      #expect(pins.count == 5)
      #expect(contents(pins).count == Int(2 * slot))
      #expect(
        contents(pins).enumerated().allSatisfy { at, byte in
          byte == (at + 100 >= 7 * 4096 && at + 100 < 8 * 4096 ? 1 : 0)
        })
      #expect(machine.zeroPageReferences > 1)
      machine.shrink()
      #expect(machine.zeroPageReferences > 1)
    }
    machine.expectBaseline()
  }

  @Test func withoutAZeroPageHolesComeFromTheSystem() throws {
    // With one table, 2 MiB have no room for a huge frame.
    let machine = try Machine(limit: 2 * mib, policy: Policy(huge: false))
    do {
      let space = try machine.makeSpace(size: 8 * mib)
      try space.fill(1, at: page, count: page)
      var pins = Pins(machine: machine, capacity: 6)
      // Each turn needs room for three pieces and takes some of it, whatever backs the pieces.
      for turn in 0..<2 {
        let room = pins.room
        try space.pin(at: 0, length: page, into: &pins)
        #expect(pins.room < room, "turn \(turn)")
      }
      #expect(contents(pins).allSatisfy { $0 == 0 })
      #expect(machine.zeroPageReferences == 0)
    }
    machine.expectBaseline()
  }

  @Test func pinningOutOfRangeThrows() throws {
    let machine = try Machine(limit: 2 * mib)
    let space = try machine.makeSpace(size: page)
    var pins = Pins(machine: machine, capacity: 4)
    do throws(MemoryError) {
      try space.pin(at: page, length: 1, into: &pins)
      Issue.record("pinned beyond the end")
    } catch {
      #expect(error == .outOfRange(offset: page, length: 1, size: page))
    }
  }
}

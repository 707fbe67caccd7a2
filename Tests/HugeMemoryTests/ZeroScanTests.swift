import Testing

@testable import HugeMemory

/// Memory that was written with zeros becomes holes, and no other memory does.
@Suite struct ZeroScanTests {
  @Test func smallPagesOfZerosBecomeHoles() throws {
    let machine = try Machine(limit: 64 * mib, policy: Policy(huge: false))
    do {
      let space = try machine.makeSpace(size: gib)
      try space.fill(0, at: 0, count: 16 * page)
      try space.fill(1, at: 3 * page, count: page)
      let before = machine.memoryUsed
      machine.reclaim()
      #expect(machine.memoryUsed == before - 15 * page)
      #expect(machine[counter: "zero_scan_page"] == 15)
      #expect(
        try space.extents(at: 0, length: slot) == [
          Extent(offset: 0, length: 3 * page, kind: .hole),
          Extent(offset: 3 * page, length: page, kind: .data),
          Extent(offset: 4 * page, length: slot - 4 * page, kind: .hole),
        ])
      #expect(try space.bytes(at: 0, count: 3 * page).allSatisfy { $0 == 0 })
      #expect(try space.byte(at: 3 * page) == 1)
      try space.fill(2, at: 0, count: 2 * page)
      #expect(try space.byte(at: page) == 2)
    }
    machine.expectBaseline()
  }

  /// Every call looks at all memory, wherever the last one ended.
  @Test(arguments: [true, false]) func eachReclaimLooksThroughAll(_ huge: Bool) throws {
    let machine = try Machine(limit: 64 * mib, policy: Policy(huge: huge))
    do {
      let spaces = try (0..<3).map { _ in try machine.makeSpace(size: gib) }
      for turn in 0..<5 {
        for space in spaces {
          try space.fill(1, at: 0, count: page)
          for at: UInt64 in [1, 7, 30] { try space.fill(0, at: at * slot, count: slot) }
        }
        machine.reclaim()
        for space in spaces {
          let extents = try space.extents(at: slot, length: gib - slot)
          #expect(extents.map(\.kind) == [.hole], "turn \(turn)")
        }
      }
      #expect(try spaces[1].byte(at: 0) == 1)
    }
    machine.expectBaseline()
  }

  @Test func aHugeFrameOfZerosGoesWithItsTables() throws {
    let machine = try Machine(limit: 64 * mib)
    do {
      let space = try machine.makeSpace(size: gib)
      try space.fill(0, at: 10 * slot, count: slot)
      #expect(try space.pageState(at: 10 * slot).isHuge)
      machine.reclaim()
      #expect(space.usage() == Usage())
      #expect(machine.memoryUsed == 0)
      #expect(try space.byte(at: 10 * slot) == 0)
    }
    machine.expectBaseline()
  }

  @Test(arguments: [true, false]) func aByteAtEitherEndKeepsAPage(_ huge: Bool) throws {
    let machine = try Machine(limit: 64 * mib, policy: Policy(huge: huge))
    do {
      let space = try machine.makeSpace(size: gib)
      let unit = huge ? slot : page
      try space.fill(0, at: 0, count: 4 * unit)
      try space.fill(1, at: 0, count: 1)
      try space.fill(1, at: 2 * unit - 1, count: 1)
      try space.fill(1, at: 2 * unit + unit / 2, count: 1)
      machine.reclaim()
      #expect(
        try space.extents(at: 0, length: 4 * unit).map(\.kind) == [.data, .hole])
      #expect(space.usage().data == 3 * unit)
      #expect(try space.byte(at: 0) == 1 && space.byte(at: 2 * unit - 1) == 1)
      #expect(try space.byte(at: 2 * unit + unit / 2) == 1)
    }
    machine.expectBaseline()
  }

  @Test func whatWasReservedStays() throws {
    let machine = try Machine(limit: 64 * mib, policy: Policy(huge: false))
    do {
      let space = try machine.makeSpace(size: 4 * slot)
      try space.zero(at: 0, length: 4 * page, reserve: true)
      try space.fill(1, at: 4 * page, count: page)
      let kept = space.usage()
      #expect(kept.data == 5 * page)
      machine.reclaim()
      #expect(space.usage() == kept)
      // Both sides of a fork, including what either side has copied.
      let fork = try space.fork()
      try fork.fill(0, at: 0, count: 2 * page)
      try space.fill(0, at: page, count: 1)
      machine.reclaim()
      #expect(space.usage().data == 5 * page && fork.usage().data == 5 * page)
      // A huge frame with one reserved page, and its parts.
      try space.collapse(0..<slot)
      #expect(try space.pageState(at: 0).isHuge)
      try space.discard(at: 4 * page, length: page)
      machine.reclaim()
      #expect(try space.pageState(at: 0).kind == .data)
      #expect(try space.bytes(at: 0, count: slot).allSatisfy { $0 == 0 })
    }
    machine.expectBaseline()
  }

  @Test func aWhollyReservedHugeFrameStays() throws {
    let machine = try Machine(limit: 64 * mib)
    do {
      let space = try machine.makeSpace(size: 4 * slot)
      try space.zero(at: 0, length: slot, reserve: true)
      #expect(space.usage().data == slot)
      machine.reclaim()
      #expect(space.usage().data == slot)
      // The discard splits the frame. The other half is still reserved.
      try space.discard(at: 0, length: slot / 2)
      machine.reclaim()
      #expect(space.usage().data == slot / 2)
    }
    machine.expectBaseline()
  }

  @Test(arguments: [true, false]) func forksKeepTheirContents(_ huge: Bool) throws {
    let machine = try Machine(limit: 64 * mib, policy: Policy(huge: huge))
    do {
      let space = try machine.makeSpace(size: 4 * slot)
      try space.fill(7, at: 0, count: slot)
      let fork = try space.fork()
      try space.fill(0, at: 0, count: slot)
      machine.reclaim()
      #expect(try fork.bytes(at: 0, count: slot).allSatisfy { $0 == 7 })
      #expect(try space.extents().map(\.kind) == [.hole])
      #expect(try space.bytes(at: 0, count: slot).allSatisfy { $0 == 0 })
      try fork.fill(0, at: 0, count: slot)
      try space.fill(3, at: 0, count: page)
      machine.reclaim()
      #expect(try fork.extents().map(\.kind) == [.hole])
      #expect(try space.byte(at: 0) == 3)
    }
    machine.expectBaseline()
  }
}

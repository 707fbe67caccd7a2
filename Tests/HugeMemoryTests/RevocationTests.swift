import Testing

@testable import HugeMemory

/// The zero page goes even though it is mapped, and comes back when there is memory.
@Suite struct RevocationTests {
  @Test(arguments: [Policy.ZeroReference.perTable, .perMapping])
  func itGoesFromAllWhoMapIt(_ reference: Policy.ZeroReference) throws {
    let machine = try Machine(limit: 64 * mib, policy: Policy(reference: reference))
    do {
      let spaces = try (0..<20).map { _ in try machine.makeSpace(size: 4 * gib) }
      for (index, space) in spaces.enumerated() {
        for at in 0..<UInt64(10) { _ = try space.byte(at: at * 200 * slot) }
        try space.fill(UInt8(index + 1), at: 100 * slot, count: page)
        // Zero entries in a small table as well.
        machine.tune { $0.zeroWrite = .split }
        _ = try space.byte(at: 50 * slot)
        try space.fill(9, at: 50 * slot + page, count: page)
      }
      // Forks share the tables, and the entries in them.
      let forks = try spaces.map { try $0.fork() }
      #expect(try forks[0].pageState(at: 0) == PageState(kind: .zero, isHuge: true))
      #expect(try forks[0].pageState(at: 50 * slot) == PageState(kind: .zero, isHuge: false))
      #expect(machine.revokeZeroPage())
      #expect(machine.zeroPageReferences == 0 && machine[counter: "thp_zero_page_revoke"] == 1)
      for (index, space) in (spaces + forks).enumerated() {
        #expect(space.usage().zero == 0)
        #expect(try space.byte(at: 100 * slot) == UInt8(index % 20 + 1))
        #expect(try space.byte(at: 50 * slot + page) == 9)
        #expect(try space.byte(at: 50 * slot) == 0 && space.byte(at: 0) == 0)
      }
      #expect(!machine.revokeZeroPage() || machine.zeroPageReferences == 0)
    }
    machine.expectBaseline()
  }

  @Test(arguments: [Policy.ZeroReference.perTable, .perMapping])
  func aPinHoldsIt(_ reference: Policy.ZeroReference) throws {
    let machine = try Machine(limit: 64 * mib, policy: Policy(reference: reference))
    do {
      let space = try machine.makeSpace(size: gib)
      var pins = Pins(machine: machine, capacity: 600)
      try space.pin(at: 0, length: slot, into: &pins)
      let before = machine.zeroPageReferences
      #expect(before > 1)
      #expect(!machine.revokeZeroPage())
      #expect(machine.zeroPageReferences > 0)
      // The pinned pieces, as a socket would still be sending them.
      for index in 0..<pins.count { #expect(unsafe pins[index].allSatisfy { $0 == 0 }) }
      #expect(space.usage().zero == 0)
      pins.release()
      #expect(machine.revokeZeroPage() && machine.zeroPageReferences == 0)
    }
    machine.expectBaseline()
  }

  @Test func itComesBackOnceMemoryIsFree() throws {
    let machine = try Machine(limit: 64 * mib)
    do {
      let space = try machine.makeSpace(size: gib)
      _ = try space.byte(at: 0)
      let allocated = machine[counter: "thp_zero_page_alloc"]
      #expect(allocated == 1)
      // Hardly any memory is left, so the revoked page stays away.
      machine.setLimit(2 * mib + 64 * kib)
      #expect(machine.revokeZeroPage())
      machine.setLimit(0)
      #expect(try space.byte(at: 5 * slot) == 0)
      #expect(machine.zeroPageReferences == 0)
      #expect(machine[counter: "thp_zero_page_alloc"] == allocated)
      machine.setLimit(64 * mib)
      #expect(try space.byte(at: 5 * slot) == 0)
      #expect(machine[counter: "thp_zero_page_alloc"] == allocated + 1)
      #expect(machine.zeroPageReferences > 1)
    }
    machine.expectBaseline()
  }

  @Test func withheldItStaysAwayUntilSomebodyAllowsIt() throws {
    let machine = try Machine(limit: 64 * mib)
    do {
      let space = try machine.makeSpace(size: gib)
      _ = try space.byte(at: 0)
      machine.withholdZeroPage(true)
      #expect(machine.revokeZeroPage())
      #expect(try space.byte(at: slot) == 0)
      #expect(machine.zeroPageReferences == 0)
      machine.withholdZeroPage(false)
      #expect(try space.byte(at: slot) == 0)
      #expect(machine.zeroPageReferences > 1)
    }
    machine.expectBaseline()
  }

  @Test func whatIsNeverFreedIsNotRevoked() throws {
    let machine = try Machine(limit: 64 * mib, policy: Policy(reference: .neverFreed))
    do {
      let space = try machine.makeSpace(size: gib)
      _ = try space.byte(at: 0)
      #expect(!machine.revokeZeroPage())
      #expect(try space.pageState(at: 0).kind == .zero)
    }
    machine.expectBaseline()
  }
}

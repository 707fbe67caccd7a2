import Frames
import Testing

@testable import HugeMemory

/// The zero page's references and contents, as the kernel's history suggests.
@Suite struct ZeroPageLifeTests {
  @Test func history7_thereIsOneWayToGiveTheZeroPageBack() throws {
    let machine = try Machine(limit: 64 * mib, policy: Policy(reference: .perMapping))
    let space = try machine.makeSpace(size: 8 * slot)
    for index: UInt64 in 0..<8 { _ = try space.byte(at: index * slot) }
    #expect(machine.zeroPageReferences == 9)
    let used = machine.memoryUsed
    // References that waited are put once each, and that frees nothing.
    machine.retire(.zero(3))
    #expect(machine.zeroPageReferences == 9)
    machine.settle()
    #expect(machine.zeroPageReferences == 6 && machine.memoryUsed == used)
    for _ in 0..<3 { _ = machine.getZeroPage() }
    try space.discard(at: 0, length: 8 * slot)
    #expect(machine.zeroPageReferences == 1)
    machine.expectBaseline()
  }

  @Test func history8_aFaultDoesNotTouchTheGlobalCount() throws {
    let machine = try Machine(limit: 64 * mib)
    let space = try machine.makeSpace(size: gib)
    _ = try space.byte(at: 0)
    #expect(machine.zeroPageReferences == 2)
    // The table has its reference. 511 more mappings, and forks that write nothing, need no more.
    for index: UInt64 in 1..<512 { _ = try space.byte(at: index * slot) }
    let forks = try (0..<100).map { _ in try space.fork() }
    for fork in forks { _ = try fork.byte(at: 0) }
    #expect(machine.zeroPageReferences == 2)
  }

  @Test func history14_thePageIsZeroWhateverItsFrameHeldBefore() throws {
    let machine = try Machine(limit: 4 * mib)
    var space: AddressSpace? = try machine.makeSpace(size: slot)
    // All memory is dirty, in one piece and in pieces, and then free again.
    for _ in 0..<3 {
      try space!.fill(0xff, at: 0, count: slot)
      try space!.discard(at: 0, length: slot)
      for index: UInt64 in 0..<300 { try space!.fill(0xff, at: index * page, count: page) }
      try space!.discard(at: 0, length: slot)
    }
    space = nil
    let reader = try machine.makeSpace(size: slot)
    _ = try reader.byte(at: 0)
    #expect(try reader.pageState(at: 0) == PageState(kind: .zero, isHuge: true))
    var pins = Pins(machine: machine, capacity: 600)
    try reader.pin(at: 0, length: slot, into: &pins)
    #expect(unsafe pins[0].allSatisfy { $0 == 0 })
  }
}

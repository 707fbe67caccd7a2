import Testing

@testable import HugeMemory

/// Mappings: what they allow, and what stays huge.
@Suite struct MappingTests {
  let machine: Machine
  let space: AddressSpace

  init() throws {
    machine = try Machine(limit: 64 * mib)
    space = try machine.makeSpace(size: 8 * mib)
  }

  func state(_ page: UInt64) throws -> PageState { try space.pageState(at: page * 4096) }

  @Test func anUnmappedPageIsNeitherReadNorWritten() throws {
    try space.fill(1, at: 0, count: 2 * page)
    try space.unmap(at: page, length: page)
    #expect(throws: MemoryError.notMapped(offset: page)) { try space.byte(at: page) }
    #expect(throws: MemoryError.notMapped(offset: page)) { try space.fill(2, at: page, count: 1) }
    #expect(try space.byte(at: 0) == 1)
    // A write that begins before the unmapped page changes nothing.
    #expect(throws: MemoryError.notMapped(offset: page)) {
      try space.fill(2, at: page - 1, count: 2)
    }
    #expect(try space.byte(at: page - 1) == 1)
  }

  @Test func aMappedPageIsFresh() throws {
    try space.fill(1, at: 0, count: 3 * page)
    try space.map(at: page, length: page)
    #expect(try space.byte(at: page) == 0)
    #expect(try space.byte(at: page - 1) == 1)
    #expect(try space.byte(at: 2 * page) == 1)
  }

  @Test func protectionIsKeptThroughHolesZerosAndData() throws {
    try space.fill(1, at: 0, count: 1)
    _ = try space.byte(at: slot)
    for start in [0, slot, 2 * slot] {
      try space.protect(at: start, length: page, .read)
      _ = try space.byte(at: start)
      let denied = MemoryError.accessDenied(offset: start, protection: .read)
      #expect(throws: denied) { try space.fill(9, at: start, count: 1) }
      try space.protect(at: start, length: page, [])
      let hidden = MemoryError.accessDenied(offset: start, protection: [])
      #expect(throws: hidden) { try space.byte(at: start) }
      #expect(throws: hidden) { try space.fill(9, at: start, count: 1) }
      try space.protect(at: start, length: page, [.read, .write])
      #expect(try space.byte(at: start) == (start == 0 ? 1 : 0))
      try space.fill(9, at: start, count: 1)
      #expect(try space.byte(at: start) == 9)
    }
  }

  @Test func partsOfASlotAreProtectedSmallAndWholeOnesStayHuge() throws {
    try space.fill(1, at: 0, count: 1)
    try space.protect(at: 0, length: slot, .read)
    #expect(try state(0) == PageState(kind: .data, isHuge: true))
    try space.protect(at: 0, length: slot, [.read, .write])
    try space.fill(2, at: 0, count: 1)
    try space.protect(at: 0, length: page, .read)
    #expect(try state(0) == PageState(kind: .data, isHuge: false))
    #expect(try state(511) == PageState(kind: .data, isHuge: false))
  }

  @Test func adviceDecidesWhoIsHuge() throws {
    machine.tune { $0.enabled = .madvise }
    try space.fill(1, at: 0, count: 1)
    #expect(try !state(0).isHuge)
    try space.advise(at: slot, length: slot, .huge)
    try space.fill(1, at: slot, count: 1)
    #expect(try state(512).isHuge)
    machine.tune { $0.enabled = .always }
    try space.advise(at: 2 * slot, length: slot, .noHuge)
    try space.fill(1, at: 2 * slot, count: 1)
    #expect(try !state(1024).isHuge)
    try space.fill(1, at: 3 * slot, count: 1)
    #expect(try state(1536).isHuge)
  }

  @Test func populateFaultsEverythingInAndKeepsContents() throws {
    machine.tune { $0.enabled = .never }
    try space.fill(7, at: page, count: 1)
    try space.advise(at: 0, length: 4 * page, .populateWrite)
    for index: UInt64 in 0..<4 { #expect(try state(index).kind == .data) }
    #expect(try state(4).kind == .hole)
    #expect(try space.byte(at: page) == 7)
    try space.advise(at: 0, length: 6 * page, .populateRead)
    #expect(try state(5).kind == .zero)
    try space.protect(at: 0, length: page, [])
    #expect(throws: MemoryError.accessDenied(offset: 0, protection: [])) {
      try space.advise(at: 0, length: page, .populateRead)
    }
  }

  @Test func aForkHasTheMappingsOfItsOrigin() throws {
    try space.fill(1, at: 0, count: 1)
    try space.protect(at: 0, length: page, .read)
    try space.unmap(at: slot, length: page)
    let fork = try space.fork()
    #expect(try fork.byte(at: 0) == 1)
    #expect(throws: MemoryError.accessDenied(offset: 0, protection: .read)) {
      try fork.fill(2, at: 0, count: 1)
    }
    #expect(throws: MemoryError.notMapped(offset: slot)) { try fork.byte(at: slot) }
    // From then on the fork has mappings of its own.
    try fork.protect(at: 0, length: page, [.read, .write])
    try fork.fill(2, at: 0, count: 1)
    #expect(try space.byte(at: 0) == 1)
    #expect(throws: MemoryError.self) { try space.fill(2, at: 0, count: 1) }
  }

  @Test func history12_aMoveKeepsZeroZero() throws {
    _ = try space.byte(at: 0)
    let before = machine.zeroPageReferences
    try space.move(from: 0, to: slot, length: slot)
    #expect(try state(512) == PageState(kind: .zero, isHuge: true))
    #expect(throws: MemoryError.notMapped(offset: 0)) { try space.byte(at: 0) }
    #expect(machine.zeroPageReferences == before)
    // Parts move as small entries.
    try space.move(from: slot + page, to: 3 * slot + page, length: 4 * page)
    #expect(try state(1537) == PageState(kind: .zero, isHuge: false))
    try space.fill(1, at: 3 * slot + page, count: 1)
    #expect(try space.byte(at: slot) == 0)
  }

  @Test func aMoveCarriesDataAndReplacesTheTarget() throws {
    for index: UInt64 in 0..<4 { try space.fill(UInt8(index + 1), at: index * slot, count: slot) }
    try space.move(from: 0, to: slot, length: slot)
    #expect(try state(512) == PageState(kind: .data, isHuge: true))
    #expect(try space.byte(at: slot) == 1)
    // With different offsets within 2 MiB, the entries become small and the contents stay.
    try space.move(from: 2 * slot + page, to: 3 * slot, length: 2 * page)
    #expect(try space.byte(at: 3 * slot) == 3)
    #expect(try space.byte(at: 3 * slot + 2 * page) == 4)
    #expect(throws: MemoryError.notMapped(offset: 2 * slot + page)) {
      try space.byte(at: 2 * slot + page)
    }
    #expect(throws: MemoryError.overlappingMove(from: 0, to: page, length: slot)) {
      try space.move(from: 0, to: page, length: slot)
    }
  }

  @Test func collapseMakesOneHugeFrameOfSmallPages() throws {
    machine.tune { $0.enabled = .never }
    for index: UInt64 in stride(from: 0, to: 512, by: 2) {
      try space.fill(UInt8(index & 255), at: index * page, count: page)
    }
    let fork = try space.fork()
    try space.advise(at: 0, length: slot, .collapse)
    #expect(try state(0) == PageState(kind: .data, isHuge: true))
    for index: UInt64 in 0..<512 {
      let expected = index % 2 == 0 ? UInt8(index & 255) : 0
      #expect(try space.byte(at: index * page) == expected)
      #expect(try fork.byte(at: index * page) == expected)
    }
    #expect(machine[counter: "thp_collapse_alloc"] == 1)
    try space.fill(9, at: page, count: 1)
    #expect(try state(0).isHuge)
    #expect(try fork.byte(at: page) == 0)
  }

  @Test func nothingButZerosIsNotCollapsed() throws {
    #expect(throws: MemoryError.self) { try space.advise(at: 0, length: slot, .collapse) }
    _ = try space.byte(at: 0)
    try space.advise(at: 0, length: slot, .collapse)
    #expect(try state(0) == PageState(kind: .zero, isHuge: true))
  }

  @Test func badRangesAreRefused() throws {
    let misaligned = MemoryError.misaligned(offset: 1, length: page)
    #expect(throws: misaligned) { try space.unmap(at: 1, length: page) }
    #expect(throws: MemoryError.self) { try space.unmap(at: 0, length: 0) }
    #expect(throws: MemoryError.self) { try space.map(at: 8 * mib, length: page) }
    #expect(throws: MemoryError.self) { try space.protect(at: 0, length: 9 * mib, .read) }
    #expect(throws: MemoryError.self) { try space.protect(at: 0, length: UInt64.max & ~4095, []) }
  }
}

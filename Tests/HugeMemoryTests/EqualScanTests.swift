import Testing

@testable import HugeMemory

/// If a fork wrote what its origin has, the two share memory again.
@Suite struct EqualScanTests {
  /// Contents that differ from page to page.
  private func pattern(_ count: UInt64, from first: UInt64 = 0) -> [UInt8] {
    (0..<Int(count)).map { UInt8(truncatingIfNeeded: $0 / 4096 + Int(first) + 1) | 1 }
  }

  @Test(arguments: [true, false]) func equalPagesAreSharedAgain(_ huge: Bool) throws {
    let machine = try Machine(limit: 64 * mib, policy: Policy(huge: huge))
    do {
      let origin = try machine.makeSpace(size: gib)
      let bytes = pattern(slot)
      try origin.write(bytes, at: 0)
      let fork = try origin.fork()
      try fork.write(bytes, at: 0)
      #expect(fork.usage().shared == 0)
      let before = machine.memoryUsed
      machine.reclaim()
      #expect(machine.memoryUsed <= before - slot)
      #expect(fork.usage().shared == slot)
      #expect(machine[counter: "equal_scan_page"] == 512)
      try keepApart(origin, fork, bytes)
    }
    machine.expectBaseline()
  }

  @Test func pagesThatDifferAndPagesThatAreReservedStay() throws {
    let machine = try Machine(limit: 64 * mib, policy: Policy(huge: false))
    do {
      let origin = try machine.makeSpace(size: gib)
      let bytes = pattern(16 * page)
      try origin.write(bytes, at: 0)
      try origin.zero(at: 8 * page, length: page, reserve: true)
      let fork = try origin.fork()
      try fork.write(bytes, at: 0)
      try fork.fill(0, at: 8 * page, count: page)
      try fork.fill(200, at: 4 * page - 1, count: 1)
      try fork.fill(200, at: 5 * page, count: 1)
      machine.reclaim()
      let usage = fork.usage()
      #expect(usage.shared == 13 * page && usage.data == 16 * page)
      #expect(try fork.byte(at: 4 * page - 1) == 200 && fork.byte(at: 5 * page) == 200)
      #expect(try origin.bytes(at: 0, count: 8 * page) == Array(bytes[..<Int(8 * page)]))
    }
    machine.expectBaseline()
  }

  /// Parts of a frame that is mapped small have references of their own.
  @Test func anOriginsHugeFrameThatIsMappedSmall() throws {
    let machine = try Machine(limit: 64 * mib)
    do {
      let origin = try machine.makeSpace(size: gib)
      let bytes = pattern(slot)
      try origin.write(bytes, at: 0)
      let fork = try origin.fork()
      // The fork's own table maps the parts of the origin's frame.
      try fork.fill(99, at: 0, count: 3 * page)
      #expect(try !fork.pageState(at: 0).isHuge && origin.pageState(at: 0).isHuge)
      try fork.write(Array(bytes[..<Int(2 * page)]), at: 0)
      machine.reclaim()
      #expect(machine[counter: "equal_scan_page"] == 2)
      #expect(fork.usage().shared == slot - page)
      #expect(try fork.byte(at: 2 * page) == 99)
      try fork.write(Array(bytes[Int(2 * page)..<Int(3 * page)]), at: 2 * page)
      machine.reclaim()
      try keepApart(origin, fork, bytes)
    }
    machine.expectBaseline()
  }

  @Test(arguments: [true, false]) func theOriginMayGo(_ huge: Bool) throws {
    let machine = try Machine(limit: 64 * mib, policy: Policy(huge: huge))
    do {
      var origin: AddressSpace? = try machine.makeSpace(size: gib)
      let bytes = pattern(slot)
      try origin!.write(bytes, at: 0)
      let fork = try origin!.fork()
      try fork.write(bytes, at: 0)
      machine.reclaim()
      #expect(fork.usage().shared == slot)
      origin = nil
      machine.reclaim()
      #expect(fork.usage().own >= slot)
      #expect(try fork.bytes(at: 0, count: slot) == bytes)
      try fork.fill(5, at: page, count: page)
      #expect(try fork.byte(at: page) == 5 && fork.byte(at: 0) == bytes[0])
      // Without an origin, there is nothing to compare with, and nothing breaks.
      try fork.write(bytes, at: 0)
      machine.reclaim()
      #expect(try fork.bytes(at: 0, count: slot) == bytes)
    }
    machine.expectBaseline()
  }

  /// Writes on both sides after they share memory again, alternating with more scans.
  private func keepApart(_ origin: AddressSpace, _ fork: AddressSpace, _ bytes: [UInt8]) throws {
    let machine = origin.machine
    var ours = bytes
    var theirs = bytes
    func put(_ space: AddressSpace, _ model: inout [UInt8], _ value: UInt8, _ at: Int) throws {
      try space.fill(value, at: UInt64(at) * page, count: 100)
      for index in at * 4096..<at * 4096 + 100 { model[index] = value }
    }
    for turn in 0..<3 {
      try put(origin, &ours, UInt8(201 + turn), 1)
      try put(fork, &theirs, UInt8(211 + turn), 2)
      try put(origin, &ours, UInt8(221 + turn), 300)
      try put(fork, &theirs, UInt8(221 + turn), 300)
      #expect(
        try origin.bytes(at: 0, count: slot) == ours && fork.bytes(at: 0, count: slot) == theirs)
      machine.reclaim()
      #expect(
        try origin.bytes(at: 0, count: slot) == ours && fork.bytes(at: 0, count: slot) == theirs)
    }
    try put(fork, &theirs, 231, 300)
    try put(origin, &ours, 232, 300)
    #expect(
      try origin.bytes(at: 0, count: slot) == ours && fork.bytes(at: 0, count: slot) == theirs)
  }
}

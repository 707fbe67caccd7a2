import Testing

@testable import HugeMemory

/// Sizes, boundaries and bad arguments.
@Suite struct SizeTests {
  private func expectOutOfRange(_ offset: UInt64, _ count: Int, _ space: AddressSpace) {
    let error = MemoryError.outOfRange(offset: offset, length: UInt64(count), size: space.size)
    #expect(throws: error) { try space.bytes(at: offset, count: UInt64(count)) }
    #expect(throws: error) { try space.fill(1, at: offset, count: UInt64(count)) }
    #expect(throws: error) { try space.discard(at: offset, length: UInt64(count)) }
    #expect(throws: error) { try space.zero(at: offset, length: UInt64(count), reserve: true) }
    #expect(throws: error) { _ = try space.extents(at: offset, length: UInt64(count)) }
  }

  @Test func whatReachesBeyondTheSizeThrows() throws {
    let machine = try Machine(limit: 32 * mib)
    for size in [1, 4095, 4096, 4097, slot, slot + 1, 1 << 48] as [UInt64] {
      let space = try machine.makeSpace(size: size)
      for (offset, count) in [
        (size, 1), (size - 1, 2), (size + 1, 0), (.max, 1), (.max, 0), (.max - 4, 8),
      ] {
        expectOutOfRange(offset, count, space)
      }
      try space.fill(1, at: size, count: 0)
      #expect(try space.bytes(at: size, count: 0) == [])
      #expect(try space.extents(at: size, length: 0) == [])
    }
    #expect(machine.memoryUsed == 0)
  }

  @Test func sizesThatCannotBeHadThrow() throws {
    let machine = try Machine(limit: 2 * mib)
    for size in [0, (1 << 48) + 1, .max] as [UInt64] {
      #expect(throws: MemoryError.self) { _ = try machine.makeSpace(size: size) }
    }
    for limit in [0, 2 * mib - 1, (1 << 43) + 1, .max] as [UInt64] {
      #expect(throws: MemoryError.self) { _ = try Machine(limit: limit) }
    }
  }

  @Test(arguments: [true, false])
  func theLastPageIsAsGoodAsAnyOther(_ huge: Bool) throws {
    for size in [
      1, 100, 4096, 4097, slot - 1, slot, slot + 1, gib, gib + 1, 512 * gib, 512 * gib + 4097,
      (1 << 48) - 1, 1 << 48,
    ] as [UInt64] {
      let machine = try Machine(limit: 32 * mib, policy: Policy(huge: huge))
      do {
        let space = try machine.makeSpace(size: size)
        #expect(try space.extents() == [Extent(offset: 0, length: size, kind: .hole)])
        try space.fill(1, at: size - 1, count: 1)
        try space.fill(2, at: 0, count: 1)
        #expect(try space.byte(at: 0) == 2)
        #expect(try space.byte(at: size - 1) == (size == 1 ? 2 : 1))
        let extents = try space.extents()
        #expect(extents.first!.kind == .data && extents.last!.kind == .data)
        #expect(extents.last!.end == size)
        let fork = try space.fork()
        try fork.fill(3, at: size - 1, count: 1)
        try space.discard(at: size - 1, length: 1)
        #expect(try space.byte(at: size - 1) == 0 && fork.byte(at: size - 1) == 3)
        try space.discard(at: 0, length: size)
        #expect(try space.extents().map(\.kind) == [.hole])
      }
      machine.expectBaseline("size \(size)")
    }
  }

  @Test func aSpaceOf256TiBCostsWhatItTouches() throws {
    let machine = try Machine(limit: 32 * mib, policy: Policy(huge: false))
    let space = try machine.makeSpace(size: AddressSpace.maximalSize)
    for index in 0..<UInt64(20) {
      try space.fill(UInt8(index), at: index * 0x0c12_3456_7000 + 4090, count: 12)
    }
    for index in 0..<UInt64(20) {
      let at = index * 0x0c12_3456_7000 + 4090
      #expect(
        try space.bytes(at: at - 1, count: 14) == [0] + [UInt8](repeating: UInt8(index), count: 12)
          + [0])
    }
    #expect(machine.memoryUsed <= 20 * 5 * page + page)
    try space.discard(at: 1, length: space.size - 2)
    machine.settle()
    // The partial first page is cleared in place, and its path stays.
    #expect(machine.memoryUsed == 5 * page)
  }

  @Test func aWalkStopsWhereItIsTold() throws {
    let machine = try Machine(limit: 32 * mib, policy: Policy(huge: false))
    let space = try machine.makeSpace(size: gib)
    for index in 0..<UInt64(4) { try space.fill(1, at: index * 3 * page, count: page) }
    var seen = 0
    try space.walk(at: 0, length: gib) { extent in
      // The closure may use the space.
      _ = try! space.byte(at: extent.offset)
      seen += 1
      return seen < 3
    }
    #expect(seen == 3)
    #expect(
      try space.extents(at: 100, length: 10) == [Extent(offset: 100, length: 10, kind: .data)])
  }
}

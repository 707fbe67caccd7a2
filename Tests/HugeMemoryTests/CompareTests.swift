import Testing

@testable import HugeMemory

/// `firstComparison` against a model: the pages that were written or discarded since the fork.
@Suite struct CompareTests {
  static let page: UInt64 = 4096
  static let huge: UInt64 = 2 << 20

  private func machine(_ policy: Policy = Policy()) throws -> Machine {
    try Machine(limit: 256 << 20, policy: policy, background: .none)
  }

  private func ranges(
    _ space: AddressSpace, _ other: AddressSpace, at: UInt64 = 0, length: UInt64? = nil
  ) throws -> [Comparison] {
    var found: [Comparison] = []
    var next = at
    let end = at + (length ?? space.size)
    while next < end {
      let part = try space.firstComparison(with: other, at: next, length: end - next)
      #expect(part.offset == next && part.length > 0)
      if let last = found.last { #expect(last.isSame != part.isSame) }
      found.append(part)
      next = part.end
    }
    #expect(next == end)
    return found
  }

  private func write(_ space: AddressSpace, _ at: UInt64, _ count: Int, _ byte: UInt8 = 7) throws {
    let bytes = [UInt8](repeating: byte, count: count)
    try unsafe space.write(at: at, from: bytes.span.bytes)
  }

  @Test func aForkIsTheSameUntilItIsWritten() throws {
    let origin = try machine().makeSpace(size: 1 << 40)
    try write(origin, 5 << 30, 3 << 20)
    let fork = try origin.fork()
    #expect(try ranges(fork, origin).map(\.isSame) == [true])
    try write(fork, (5 << 30) + 4096 * 3 + 5, 1)
    try write(fork, 700 << 30, 10)
    let found = try ranges(fork, origin).filter { !$0.isSame }
    #expect(
      found == [
        Comparison(offset: (5 << 30) + 4096 * 3, length: 4096, isSame: false),
        Comparison(offset: 700 << 30, length: 4096, isSame: false),
      ])
    #expect(try ranges(origin, fork).filter { !$0.isSame } == found)
  }

  @Test func whatIsDiscardedDiffersAndHolesDoNot() throws {
    let origin = try machine().makeSpace(size: 1 << 30)
    try write(origin, 0, 4 * 4096)
    let fork = try origin.fork()
    try fork.discard(at: 4096, length: 4096)
    try fork.discard(at: 8 << 20, length: 4 << 20)
    // Reading maps the zero page on one side.
    _ = try fork.load(at: 100 << 20, as: UInt64.self)
    #expect(
      try ranges(fork, origin).filter { !$0.isSame }
        == [Comparison(offset: 4096, length: 4096, isSame: false)])
  }

  @Test func partsOfASplitHugeFrameAreTheSame() throws {
    let origin = try machine(.linux).makeSpace(size: 64 << 20)
    try write(origin, 0, 4 << 20)
    let fork = try origin.fork()
    try fork.discard(at: Self.huge + 3 * 4096, length: 4096)
    #expect(
      try ranges(fork, origin).filter { !$0.isSame }
        == [Comparison(offset: Self.huge + 3 * 4096, length: 4096, isSame: false)])
  }

  @Test func theRangeIsKept() throws {
    let origin = try machine().makeSpace(size: 1 << 30)
    let fork = try origin.fork()
    try write(fork, 0, 100 * 4096)
    #expect(
      try ranges(fork, origin, at: 100, length: 5000)
        == [Comparison(offset: 100, length: 5000, isSame: false)])
    #expect(throws: MemoryError.self) {
      _ = try fork.firstComparison(with: origin, at: 1 << 30, length: 1)
    }
    let other = try machine().makeSpace(size: 1 << 30)
    #expect(throws: MemoryError.self) {
      _ = try fork.firstComparison(with: other, at: 0, length: 1)
    }
  }

  /// Whatever reads differently must be reported as different.
  @Test(arguments: 0..<12) func nothingThatDiffersIsMissed(seed: Int) throws {
    var random = Random(seed: UInt64(seed))
    let size: UInt64 = 24 << 20
    let origin = try machine(seed % 2 == 0 ? Policy() : .linux).makeSpace(size: size)
    func change(_ space: AddressSpace, _ times: Int) throws {
      for _ in 0..<times {
        let at = UInt64.random(in: 0..<size - 1, using: &random)
        let length = min(
          size - at,
          UInt64.random(
            in: 1...(UInt64.random(in: 0..<4, using: &random) == 0 ? 3 << 20 : 9000), using: &random
          ))
        switch Int.random(in: 0..<3, using: &random) {
        case 0: try space.discard(at: at, length: length)
        default: try write(space, at, Int(length), UInt8.random(in: 1...255, using: &random))
        }
      }
    }
    try change(origin, 20)
    let fork = try origin.fork()
    let snapshot = try fork.fork()
    try change(fork, 15)
    var same = [Bool](repeating: false, count: Int(size / Self.page))
    for part in try ranges(fork, snapshot) where part.isSame {
      #expect(part.offset % Self.page == 0 && part.end % Self.page == 0)
      for page in part.offset / Self.page..<part.end / Self.page { same[Int(page)] = true }
    }
    var one = [UInt8](repeating: 0, count: 4096)
    var two = one
    for page in same.indices where same[page] {
      let at = UInt64(page) * Self.page
      try unsafe one.withUnsafeMutableBytes { try unsafe fork.read(at: at, into: $0) }
      try unsafe two.withUnsafeMutableBytes { try unsafe snapshot.read(at: at, into: $0) }
      #expect(one == two, "page \(page)")
    }
    #expect(same.contains(true))
  }

  @Test func backing() throws {
    let space = try machine(.linux).makeSpace(size: 1 << 30)
    try write(space, 0, 2 << 20)
    _ = try space.load(at: 4 << 20, as: UInt64.self)
    let small = try machine().makeSpace(size: 1 << 30)
    try write(small, 8192, 1)
    #expect(try space.firstBacking(at: 5, length: 1 << 20) == (.huge, 5 + 1 << 20))
    #expect(try space.firstBacking(at: 2 << 20, length: 100) == (.none, (2 << 20) + 100))
    #expect(try space.firstBacking(at: 4 << 20, length: 4 << 20) == (.zero, 6 << 20))
    #expect(try small.firstBacking(at: 0, length: 1 << 20) == (.none, 8192))
    #expect(try small.firstBacking(at: 8192, length: 1 << 20) == (.small, 12288))
  }
}

import HugeMemory
import Testing

/// The methods that take ranges, as another package sees them: without `@testable`.
@Suite struct RangeTests {
  private let page: UInt64 = 4096
  private let slot: UInt64 = 2 << 20

  private func makeSpace(slots: UInt64 = 4) throws -> AddressSpace {
    try Machine(limit: 32 << 20, background: .none).makeSpace(size: slots * slot)
  }

  @Test func extentsCoverTheirRange() throws {
    let space = try makeSpace()
    try space.store(UInt8(1), at: 3 * page)
    let range = page..<slot
    let extents = Array(try space.extents(in: range))
    #expect(extents.map(\.range).first?.lowerBound == page)
    #expect(extents.map(\.range).last?.upperBound == slot)
    for (one, next) in zip(extents, extents.dropFirst()) {
      #expect(one.range.upperBound == next.range.lowerBound)
      #expect(one.kind != next.kind)
    }
    #expect(extents.filter { $0.kind == .data }.map(\.range) == [3 * page..<4 * page])
    // A sequence begins again.
    let again = try space.extents(in: range)
    #expect(Array(again) == Array(again))
    #expect(Array(try space.extents(in: page..<page)).isEmpty)
  }

  @Test func extentsSeeWhatTheirLoopChanges() throws {
    let space = try makeSpace()
    for offset in stride(from: 0, to: 8 * page, by: Int(page)) {
      try space.store(UInt8(1), at: UInt64(offset))
    }
    var data = 0
    for extent in try space.extents(in: 0..<slot) where extent.kind == .data {
      data += extent.range.count
      try space.discard(extent.range)
    }
    #expect(data == 8 * Int(page))
    #expect(space.usage().data == 0)
  }

  @Test func differencesAreWhatWasWrittenSinceTheFork() throws {
    let space = try makeSpace()
    try space.store(UInt8(1), at: 0)
    let snapshot = try space.fork()
    #expect(Array(try space.differences(from: snapshot, in: space.bounds)).isEmpty)
    try space.store(UInt8(2), at: page + 7)
    try space.store(UInt8(2), at: 2 * page)
    try snapshot.store(UInt8(3), at: slot)
    let expected = [page..<3 * page, slot..<slot + page]
    #expect(Array(try space.differences(from: snapshot, in: space.bounds)) == expected)
    #expect(Array(try snapshot.differences(from: space, in: 0..<slot)) == [page..<3 * page])
    let other = try makeSpace()
    #expect(throws: MemoryError.self) { try space.differences(from: other, in: space.bounds) }
  }

  @Test func rangesBeyondTheSpaceAreRefused() throws {
    let space = try makeSpace()
    let beyond = space.size - 1..<space.size + 1
    let error = MemoryError.outOfRange(offset: space.size - 1, length: 2, size: space.size)
    #expect(throws: error) { try space.discard(beyond) }
    #expect(throws: error) { try space.zero(beyond) }
    #expect(throws: error) { try space.read(beyond) }
    #expect(throws: error) { try space.extents(in: beyond) }
    #expect(throws: error) { try space.differences(from: space, in: beyond) }
    // No array of this size is made.
    #expect(throws: MemoryError.self) { try space.read(0..<UInt64.max) }
  }

  @Test func zeroKeepsMemoryAndDiscardGivesItBack() throws {
    let space = try makeSpace()
    try space.store(UInt64.max, at: page - 4)
    try space.zero(0..<2 * page)
    #expect(try space.read(0..<2 * page).allSatisfy { $0 == 0 })
    #expect(space.usage().data == 2 * page)
    try space.discard(0..<2 * page)
    #expect(space.usage().data == 0)
  }

  @Test func mappingsTakeRanges() throws {
    let space = try makeSpace()
    try space.store(UInt32(5), at: 0)
    try space.move(0..<page, to: slot)
    #expect(try space.load(at: slot, as: UInt32.self) == 5)
    #expect(throws: MemoryError.notMapped(offset: 0)) { try space.read(0..<1) }
    try space.map(0..<page, protection: .read)
    #expect(try space.read(0..<4) == [0, 0, 0, 0])
    #expect(throws: MemoryError.accessDenied(offset: 0, protection: .read)) {
      try space.store(UInt8(1), at: 0)
    }
    try space.protect(0..<page, [.read, .write])
    try space.store(UInt8(1), at: 0)
    try space.advise(0..<page, .discard)
    #expect(try space.load(at: 0, as: UInt8.self) == 0)
    try space.unmap(0..<page)
    #expect(throws: MemoryError.notMapped(offset: 0)) { try space.store(UInt8(1), at: 0) }
  }

  @Test func pinsHoldARange() throws {
    let machine = try Machine(limit: 32 << 20, background: .none)
    let space = try machine.makeSpace(size: slot)
    try space.store(UInt8(9), at: page)
    var pins = Pins(machine: machine, capacity: 4)
    try space.pin(page..<2 * page, into: &pins)
    try space.discard(space.bounds)
    #expect(pins.count == 1)
    #expect(unsafe pins[0].first == 9)
    pins.release()
    #expect(pins.count == 0)
  }

  @Test func reclaimStopsAtTheBytesAskedFor() throws {
    let machine = try Machine(limit: 32 << 20, background: .none)
    #expect(machine.reclaim(untilFree: 1 << 20) == 0)
  }
}

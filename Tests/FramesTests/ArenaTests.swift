import Testing

@testable import Frames

@Suite struct ArenaTests {
  static let huge = FrameGeometry.framesPerHuge

  @Test func limitsThatCannotBeHadThrow() {
    for bytes in [0, (2 << 20) - 1, (1 << 43) + 1, .max] as [UInt64] {
      #expect(throws: ArenaError.invalidLimit(bytes)) { _ = try Arena(limit: bytes) }
    }
  }

  @Test func theLimitIsExactAndNoFrameIsZero() throws {
    // Not a multiple of 2 MiB.
    let arena = try Arena(limit: UInt64(600 * FrameGeometry.frameSize))
    var frames: Set<FrameNumber> = []
    while let frame = arena.allocateSmall() {
      #expect(frame >= Self.huge)
      #expect(frames.insert(frame).inserted)
    }
    #expect(frames.count == 600 && arena.framesInUse == 600)
    #expect(arena.allocate(order: 0, zeroed: false) == nil)
    for frame in frames { arena.release(frame) }
    #expect(arena.framesInUse == 0)
  }

  @Test func theLimitMovesUpToTheCapacity() throws {
    let arena = try Arena(limit: 2 << 20, capacity: 6 << 20)
    var frames = (0..<Self.huge).compactMap { _ in arena.allocateSmall() }
    #expect(frames.count == Self.huge && arena.allocateSmall() == nil)
    arena.setLimit(.max)
    #expect(arena.limit == 3 * Self.huge)
    frames += (0..<2 * Self.huge).compactMap { _ in arena.allocateSmall() }
    #expect(frames.count == 3 * Self.huge && arena.allocateSmall() == nil)
    // The limit is below what is in use, so nothing can be allocated until enough is freed.
    arena.setLimit(100)
    for frame in frames.dropFirst(100) { arena.release(frame) }
    arena.drainCaches()
    #expect(arena.allocateSmall() == nil)
    arena.release(frames[0])
    arena.drainCaches()
    #expect(arena.allocateSmall() != nil && arena.allocateSmall() == nil)
  }

  @Test func blocksAreAlignedToTheirSize() throws {
    let arena = try Arena(limit: 16 << 20)
    for order in 0...FrameGeometry.hugeOrder {
      let frame = try #require(arena.allocate(order: order, zeroed: false))
      #expect(Int(frame) % (1 << order) == 0)
      #expect(arena.references(frame) == 1)
      #expect(arena.isHuge(frame) == (order == FrameGeometry.hugeOrder))
    }
    #expect(arena.framesInUse == 1023)
  }

  @Test func freeBlocksCoalesceAndGoBackToTheSystem() throws {
    let arena = try Arena(limit: 4 << 20)
    let frames = (0..<Self.huge).map { _ in arena.allocate(order: 0, zeroed: false)! }
    #expect(arena.allocate(order: FrameGeometry.hugeOrder, zeroed: false) != nil)
    #expect(arena.allocate(order: 0, zeroed: false) == nil)
    // Free every other frame, so that nothing coalesces.
    for frame in frames where frame % 2 == 0 { arena.giveBack(frame, order: 0) }
    #expect(arena.allocate(order: 1, zeroed: false) == nil)
    let before = arena.bytesGivenBack
    for frame in frames where frame % 2 == 1 { arena.giveBack(frame, order: 0) }
    #expect(arena.bytesGivenBack == before + 2 << 20)
    #expect(arena.allocate(order: FrameGeometry.hugeOrder, zeroed: false) != nil)
  }

  /// History item 1: a block that is freed with another order is lost or handed out twice.
  @Test func history1_everyOrderIsFreedAsItWasAllocated() throws {
    let arena = try Arena(limit: 2 << 20)
    for order in 0...FrameGeometry.hugeOrder {
      for _ in 0..<3 {
        let blocks = (0..<Self.huge >> order).map { _ in
          arena.allocate(order: order, zeroed: false)!
        }
        #expect(Set(blocks).count == blocks.count && arena.framesInUse == Self.huge)
        for block in blocks { arena.release(block) }
        #expect(arena.framesInUse == 0)
        arena.drainCaches()
        let whole = try #require(arena.allocate(order: FrameGeometry.hugeOrder, zeroed: false))
        arena.release(whole)
      }
    }
  }

  @Test func aZeroedBlockIsZeroWhateverWasThere() throws {
    let arena = try Arena(limit: 4 << 20)
    func isZero(_ frame: FrameNumber, _ order: Int) -> Bool {
      let bytes = unsafe UnsafeRawBufferPointer(
        start: arena.address(frame), count: FrameGeometry.frameSize << order)
      return unsafe bytes.allSatisfy { $0 == 0 }
    }
    func soil(_ frame: FrameNumber, _ order: Int) {
      unsafe arena.address(frame).initializeMemory(
        as: UInt8.self, repeating: 7, count: FrameGeometry.frameSize << order)
    }
    for order in [0, 3, 0, 9, 1, 9] {
      let frame = try #require(arena.allocate(order: order, zeroed: true))
      #expect(isZero(frame, min(order, 3)))
      soil(frame, order)
      arena.release(frame)
      let small = try #require(arena.allocateSmallZeroed())
      #expect(isZero(small, 0))
      soil(small, 0)
      arena.release(small)
    }
  }

  @Test func drainingTheCachesMakesBlocksWhole() throws {
    let arena = try Arena(limit: 2 << 20)
    let frame = try #require(arena.allocateSmall())
    #expect(arena.framesInUse == 1 && arena.caches.count > 0)
    arena.release(frame)
    #expect(arena.framesInUse == 0 && arena.caches.count > 0)
    arena.drainCaches()
    #expect(arena.caches.count == 0)
    #expect(arena.bytesGivenBack == 2 << 20)
    // A huge allocation drains the caches itself.
    arena.release(try #require(arena.allocateSmall()))
    #expect(arena.allocate(order: FrameGeometry.hugeOrder, zeroed: false) != nil)
  }

  @Test func threadsNeverGetTheSameFrame() async throws {
    let arena = try Arena(limit: 8 << 20)
    await withTaskGroup(of: Void.self) { group in
      for task in 0..<4 {
        group.addTask {
          var own: [FrameNumber] = []
          for round in 0..<3000 {
            if round % 7 < 4, let frame = arena.allocateSmall() {
              unsafe arena.address(frame).storeBytes(of: task, as: Int.self)
              own.append(frame)
            } else if let frame = own.popLast() {
              if unsafe arena.address(frame).load(as: Int.self) != task {
                Issue.record("frame \(frame) has two owners")
              }
              arena.release(frame)
            }
            if round % 500 == 0, let block = arena.allocate(order: 9, zeroed: true) {
              arena.release(block)
            }
          }
          for frame in own { arena.release(frame) }
        }
      }
    }
    #expect(arena.framesInUse == 0)
    arena.drainCaches()
    for _ in 0..<4 { #expect(arena.allocate(order: 9, zeroed: false) != nil) }
  }

  /// A block that is being given back to the system is in no list, but an allocation waits for it.
  /// So the two halves of one block are enough for two threads.
  @Test func aBlockOnItsWayToTheSystemIsNotMissed() async throws {
    let arena = try Arena(limit: 2 << 20)
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<2 {
        group.addTask {
          for _ in 0..<3000 {
            guard let half = arena.allocate(order: 8, zeroed: false) else {
              Issue.record("no block, though there is one for each task")
              return
            }
            arena.release(half)
          }
        }
      }
    }
  }
}

import Testing

@testable import Frames

@Suite struct ReferenceTests {
  static let parts = FrameNumber(FrameGeometry.framesPerHuge)

  @Test func theLastReferenceFrees() throws {
    let arena = try Arena(limit: 4 << 20)
    let frame = try #require(arena.allocateSmall())
    arena.retain(frame, count: 3)
    #expect(arena.references(frame) == 4)
    arena.release(frame, count: 2)
    #expect(!arena.drop(frame))
    #expect(arena.framesInUse == 1)
    #expect(arena.drop(frame))
    // `drop` leaves the free to the caller.
    #expect(arena.framesInUse == 1)
    arena.free(frame)
    #expect(arena.framesInUse == 0)
  }

  @Test func aSplitFramesPartsGoByThemselves() throws {
    let arena = try Arena(limit: 2 << 20)
    let head = try #require(arena.allocate(order: 9, zeroed: false))
    #expect(arena.splitFrame(head))
    #expect(!arena.isHuge(head) && arena.references(head + 5) == 1)
    #expect(!arena.retainHuge(head))
    #expect(arena.references(head) == 1)
    for part in 0..<Self.parts {
      #expect(arena.framesInUse == Int(Self.parts - part))
      arena.release(head + part)
    }
    arena.drainCaches()
    #expect(arena.allocate(order: 9, zeroed: false) == head)
  }

  @Test func aSharedFrameIsNotSplit() throws {
    let arena = try Arena(limit: 2 << 20)
    let head = try #require(arena.allocate(order: 9, zeroed: false))
    #expect(arena.retainHuge(head))
    #expect(!arena.splitFrame(head))
    #expect(arena.isHuge(head) && arena.references(head) == 2)
    arena.release(head)
    #expect(arena.splitFrame(head))
  }

  @Test func aSplitMappingCountsOnTheHeadAndFreesWhole() throws {
    let arena = try Arena(limit: 4 << 20)
    let head = try #require(arena.allocate(order: 9, zeroed: false))
    arena.retain(head)
    arena.splitMapping(head)
    #expect(arena.references(head) == 513 && arena.references(head + 511) == 513)
    #expect(arena.isHuge(head + 77))
    // Split the other mapping too.
    arena.splitMapping(head)
    #expect(arena.references(head) == 1024)
    for part in 0..<Self.parts { arena.releaseSmall(head + part) }
    for part in 1..<Self.parts { arena.releaseSmall(head + part) }
    #expect(arena.references(head) == 1 && arena.framesInUse == 512)
    arena.releaseSmall(head)
    #expect(arena.framesInUse == 0 && arena.bytesGivenBack == 2 << 20)
    // No mark is left, so the block can be allocated for any use.
    let again = try #require(arena.allocate(order: 9, zeroed: false))
    #expect(again == head && arena.splitFrame(again))
  }

  @Test func aMarkedFrameWithOneMappingLeftCanBeSplit() throws {
    let arena = try Arena(limit: 4 << 20)
    let head = try #require(arena.allocate(order: 9, zeroed: false))
    arena.retain(head)
    arena.splitMapping(head)
    for part in 0..<Self.parts { arena.releaseSmall(head + part) }
    #expect(arena.references(head) == 1)
    #expect(arena.splitFrame(head))
    for part in 0..<Self.parts {
      #expect(arena.references(head + part) == 1 && !arena.isHuge(head + part))
      arena.release(head + part)
    }
    #expect(arena.framesInUse == 0)
  }

  @Test func aPartWithoutMappingGoesOnceNobodyMapsTheWhole() throws {
    let arena = try Arena(limit: 4 << 20)
    let head = try #require(arena.allocate(order: 9, zeroed: false))
    arena.retain(head)
    arena.splitMapping(head)
    #expect(arena.releaseSmall(head + 5), "queued")
    #expect(!arena.releaseSmall(head + 6), "once")
    var gone: [FrameNumber] = []
    #expect(arena.splitQueued { gone.append($0) } == 0, "the other mapping is of the whole")
    #expect(gone.isEmpty && arena.framesInUse == 512)
    arena.release(head)
    #expect(arena.splitQueued { gone.append($0) } == 1)
    #expect(gone == [head + 5, head + 6])
    for part in gone { arena.release(part) }
    #expect(arena.framesInUse == 510)
    for part in 0..<Self.parts where part != 5 && part != 6 {
      #expect(arena.references(head + part) == 1)
      arena.releaseSmall(head + part)
    }
    #expect(arena.framesInUse == 0)
    #expect(arena.splitQueued { _ in } == 0)
  }

  @Test func aPinKeepsAFrameWhole() throws {
    let arena = try Arena(limit: 4 << 20)
    let head = try #require(arena.allocate(order: 9, zeroed: false))
    arena.retain(head)
    arena.splitMapping(head)
    arena.release(head)
    #expect(arena.retainIfSame(head + 9))
    arena.releaseSmall(head)
    #expect(arena.splitQueued { _ in } == 0)
    arena.release(head + 9)
    var gone: [FrameNumber] = []
    #expect(arena.splitQueued { gone.append($0) } == 1)
    #expect(gone == [head])
    #expect(arena.retainIfSame(head + 9))
    #expect(arena.references(head + 9) == 2)
  }

  @Test func aQueuedFrameThatIsFreedLeavesTheQueue() throws {
    let arena = try Arena(limit: 8 << 20)
    let heads = try (0..<3).map { _ in try #require(arena.allocate(order: 9, zeroed: false)) }
    for head in heads {
      arena.splitMapping(head)
      #expect(arena.releaseSmall(head + 1))
    }
    for part in 0..<Self.parts where part != 1 { arena.releaseSmall(heads[1] + part) }
    #expect(arena.framesInUse == 1024)
    var gone: [FrameNumber] = []
    #expect(arena.splitQueued { gone.append($0) } == 2)
    #expect(gone.sorted() == [heads[0] + 1, heads[2] + 1])
  }

  @Test func releasingTooOftenTraps() async {
    await #expect(processExitsWith: .failure) {
      let arena = try Arena(limit: 2 << 20)
      let frame = arena.allocateSmall()!
      arena.release(frame)
      arena.release(frame)
    }
  }

  /// Blocks of all orders are split and retained at random and compared with a dictionary. The
  /// buddy allocator's books are checked throughout.
  @Test(arguments: 1...8) func randomProgramsAgreeWithADictionary(_ seed: Int) throws {
    var random = SystemlessRandom(state: UInt64(seed))
    let arena = try Arena(limit: 8 << 20)
    var blocks: [FrameNumber: (order: Int, references: UInt32)] = [:]
    var inUse: Set<FrameNumber> = []
    for step in 0..<3000 {
      switch UInt64.random(in: 0..<8, using: &random) {
      case 0..<3:
        let order = [0, 0, 0, 1, 4, 8, 9].randomElement(using: &random)!
        let frame = order == 0 ? arena.allocateSmall() : arena.allocate(order: order, zeroed: false)
        guard let frame else {
          if inUse.count + 1 << order <= arena.limit && order == 0 {
            Issue.record("seed \(seed), step \(step): none, though \(inUse.count) are used")
          }
          continue
        }
        for part in frame..<frame + 1 << FrameNumber(order) where !inUse.insert(part).inserted {
          Issue.record("seed \(seed), step \(step): frame \(part) handed out twice")
        }
        blocks[frame] = (order, 1)
      case 3:
        guard let (frame, _) = blocks.randomElement(using: &random) else { continue }
        arena.retain(frame)
        blocks[frame]!.references += 1
      case 4:
        guard let (frame, block) = blocks.filter({ $1.order == 9 }).randomElement(using: &random)
        else { continue }
        if arena.splitFrame(frame) != (block.references == 1) {
          Issue.record("seed \(seed), step \(step): split with \(block.references) references")
        }
        if block.references == 1 {
          for part in frame..<frame + 512 { blocks[part] = (0, 1) }
        }
      default:
        guard let (frame, block) = blocks.randomElement(using: &random) else { continue }
        #expect(arena.references(frame) == block.references, "seed \(seed), step \(step)")
        arena.release(frame)
        blocks[frame]!.references -= 1
        if block.references == 1 {
          blocks[frame] = nil
          for part in frame..<frame + 1 << FrameNumber(block.order) { inUse.remove(part) }
        }
      }
      if step % 97 == 0 { arena.trim(all: step % 2 == 0) }
      if step % 50 == 0 { arena.checkInvariants("seed \(seed), step \(step)") }
      if arena.framesInUse != inUse.count {
        Issue.record("seed \(seed), step \(step): \(arena.framesInUse), not \(inUse.count) in use")
        return
      }
    }
    for (frame, block) in blocks { arena.release(frame, count: block.references) }
    #expect(arena.framesInUse == 0)
    arena.drainCaches()
    arena.checkInvariants("seed \(seed), at the end")
    for _ in 0..<4 { #expect(arena.allocate(order: 9, zeroed: false) != nil, "seed \(seed)") }
  }
}

extension ReferenceTests {
  /// Several holders map shared huge frames small. Parts are unmapped, mapped again and pinned in
  /// any order, and the queue is split now and then. The counts agree with a model, and at the end
  /// all frames are free.
  @Test(arguments: 1...8) func randomSmallMappingsAgreeWithAModel(_ seed: Int) throws {
    var random = SystemlessRandom(state: UInt64(seed) &* 77)
    let arena = try Arena(limit: 8 << 20)
    var mappings: [FrameNumber: UInt32] = [:]
    var wholes: [FrameNumber: UInt32] = [:]
    var pins: [FrameNumber] = []
    for step in 0..<2000 {
      switch UInt64.random(in: 0..<9, using: &random) {
      case 0:
        if let head = arena.allocate(order: 9, zeroed: false) { wholes[head] = 1 }
      case 1:
        guard let (head, count) = wholes.randomElement(using: &random), count < 3 else { continue }
        arena.retain(head)
        wholes[head] = count + 1
      case 2:
        guard let (head, count) = wholes.randomElement(using: &random) else { continue }
        if !(count == 1 && arena.splitFrame(head)) { arena.splitMapping(head) }
        for part in head..<head + 512 { mappings[part, default: 0] += 1 }
        wholes[head] = count == 1 ? nil : count - 1
      case 3:
        guard let (frame, _) = mappings.randomElement(using: &random) else { continue }
        arena.retainSmall(frame)
        mappings[frame]! += 1
      case 4:
        guard let (frame, _) = mappings.randomElement(using: &random) else { continue }
        if arena.retainIfSame(frame) {
          pins.append(frame)
        } else {
          Issue.record("seed \(seed), step \(step): \(frame) is not the same, at rest")
        }
      case 5:
        if let pin = pins.popLast() { arena.release(pin) }
      case 6:
        var gone: [FrameNumber] = []
        _ = arena.splitQueued { gone.append($0) }
        for frame in gone {
          #expect(mappings[frame] == nil, "seed \(seed), step \(step): \(frame) is mapped")
          arena.release(frame)
        }
      default:
        for _ in 0..<40 {
          guard let (frame, count) = mappings.randomElement(using: &random) else { break }
          arena.releaseSmall(frame)
          mappings[frame] = count == 1 ? nil : count - 1
        }
      }
      if step % 97 == 0 { arena.trim(all: step % 2 == 0) }
      if step % 50 == 0 { arena.checkInvariants("seed \(seed), step \(step)") }
    }
    for pin in pins { arena.release(pin) }
    for (head, count) in wholes { arena.release(head, count: count) }
    var gone: [FrameNumber] = []
    _ = arena.splitQueued { gone.append($0) }
    for frame in gone { arena.release(frame) }
    // Nothing else is in use than whole huge frames with a mapping, and mapped parts that were
    // split off.
    let whole = Set(mappings.keys.filter(arena.isHuge).map { $0 / 512 }).count
    let small = mappings.keys.filter { !arena.isHuge($0) }.count
    #expect(arena.framesInUse == whole * 512 + small, "seed \(seed)")
    for (frame, count) in mappings { for _ in 0..<count { arena.releaseSmall(frame) } }
    #expect(arena.framesInUse == 0, "seed \(seed)")
    #expect(arena.splitQueued { _ in } == 0)
    arena.drainCaches()
    arena.checkInvariants("seed \(seed), at the end")
  }
}

/// An LCG, which gives the same numbers for a seed on every machine.
private struct SystemlessRandom: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return state ^ state >> 33
  }
}

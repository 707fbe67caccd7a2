import CLinux
import Glibc
import Testing

@testable import Frames

@Suite struct TrimTests {
  /// The number of pages with memory behind them among the arena's first `frames` usable frames.
  static func resident(_ arena: Arena, frames: Int) -> Int {
    var pages = [UInt8](repeating: 0, count: frames)
    let start = unsafe arena.address(FrameNumber(FrameGeometry.framesPerHuge))
    guard unsafe mincore(start, frames * FrameGeometry.frameSize, &pages) == 0 else { return -1 }
    return pages.count { $0 & 1 != 0 }
  }

  /// Fills `blocks` blocks of 2 MiB with small frames. Each frame holds its own number.
  static func filled(_ arena: Arena, blocks: Int) -> [FrameNumber] {
    (0..<blocks * FrameGeometry.framesPerHuge).map { _ in
      let frame = arena.allocate(order: 0, zeroed: false)!
      unsafe arena.address(frame).storeBytes(of: frame, as: FrameNumber.self)
      return frame
    }
  }

  /// Does the same and frees every second frame. Returns all frames.
  static func halved(_ arena: Arena, blocks: Int) -> [FrameNumber] {
    let frames = filled(arena, blocks: blocks)
    for frame in frames where frame % 2 == 0 { arena.release(frame) }
    arena.drainCaches()
    return frames
  }

  @Test func memoryBetweenFramesInUseGoesBack() throws {
    let arena = try Arena(limit: 32 << 20)
    let frames = Self.filled(arena, blocks: 8)
    #expect(Self.resident(arena, frames: frames.count) == frames.count)
    for frame in frames where frame % 64 != 0 { arena.release(frame) }
    arena.drainCaches()
    #expect(arena.framesFreeDirty == frames.count - frames.count / 64)
    // Only the second call knows that the memory was free for a while.
    #expect(arena.trim() == 0)
    #expect(arena.trim() >= frames.count * 62 / 64)
    #expect(Self.resident(arena, frames: frames.count) <= frames.count * 2 / 64)
    arena.trim(all: true)
    #expect(arena.framesFreeDirty == 0)
    for frame in frames where frame % 64 == 0 {
      #expect(unsafe arena.address(frame).load(as: FrameNumber.self) == frame)
    }
    arena.checkInvariants()
  }

  @Test func whatIsNeededAgainIsNotGivenBack() throws {
    let arena = try Arena(limit: 32 << 20)
    var frames = Self.filled(arena, blocks: 8)
    _ = frames.removeLast()  // keeps one block from being whole
    for _ in 0..<3 {
      let freed = frames.filter { $0 % 2 == 0 }
      for frame in freed { arena.release(frame) }
      arena.drainCaches()
      // Between two calls, all of the memory is allocated again.
      for _ in freed { #expect(arena.allocate(order: 0, zeroed: false) != nil) }
      arena.trim()
    }
    #expect(arena.bytesGivenBack == 0)
  }

  @Test func memoryThatWasGivenBackIsZero() throws {
    let arena = try Arena(limit: 4 << 20)
    let frames = Self.halved(arena, blocks: 2)
    arena.trim(all: true)
    while let frame = arena.allocate(order: 0, zeroed: true) {
      #expect(unsafe arena.address(frame).load(as: UInt64.self) == 0)
    }
    #expect(arena.framesInUse == frames.count)
  }

  @Test func aBlockThatBecomesWholeIsHugeAgain() throws {
    let arena = try Arena(limit: 2 << 20)
    let frames = Self.halved(arena, blocks: 1)
    arena.trim(all: true)
    for frame in frames where frame % 2 == 1 { arena.release(frame) }
    arena.drainCaches()
    #expect(Self.resident(arena, frames: frames.count) == 0)
    #expect(arena.allocate(order: FrameGeometry.hugeOrder, zeroed: true) != nil)
    arena.checkInvariants()
  }

  /// The system fails to take memory back. The memory stays with the arena and can be used.
  @Test(arguments: [0, 3]) func aFailureLosesNothing(_ after: Int) throws {
    let arena = try Arena(limit: 8 << 20)
    let frames = Self.halved(arena, blocks: 4)
    hm_fail(1, Int32(after), EAGAIN, 1)
    arena.trim(all: true)
    #expect(arena.framesFreeDirty == frames.count / 2 - after * 64)
    // The same for whole blocks.
    for frame in frames where frame % 2 == 1 { arena.release(frame) }
    arena.drainCaches()
    hm_fail(1, 0, 0, 0)
    arena.checkInvariants()
    for _ in 0..<4 {
      let frame = try #require(arena.allocate(order: FrameGeometry.hugeOrder, zeroed: true))
      let page = unsafe arena.address(frame)
      #expect(unsafe memcmp(page, page + 1, FrameGeometry.hugeSize - 1) == 0)
      #expect(unsafe page.load(as: UInt8.self) == 0)
    }
  }

  /// The system does not split its huge page. The parts that were given back still count as given
  /// back.
  @Test(arguments: [0, 1]) func aBackingThatIsNotSplitLosesNothing(_ after: Int) throws {
    let arena = try Arena(limit: 8 << 20)
    let frames = Self.halved(arena, blocks: 4)
    hm_fail(3, Int32(after), ENOMEM, 1)
    defer { hm_fail(3, 0, 0, 0) }
    #expect(arena.trim(all: true) == frames.count / 2 && arena.framesFreeDirty == 0)
    #expect(arena.framesResident == frames.count / 2)
    for frame in frames where frame % 2 == 1 {
      #expect(unsafe arena.address(frame).load(as: FrameNumber.self) == frame)
    }
    arena.checkInvariants()
    for _ in 0..<frames.count / 2 {
      let frame = try #require(arena.allocate(order: 0, zeroed: true))
      #expect(unsafe arena.address(frame).load(as: UInt64.self) == 0)
    }
    #expect(arena.allocate(order: 0, zeroed: true) == nil && arena.framesInUse == frames.count)
  }
}

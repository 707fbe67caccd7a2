import CLinux
import Glibc
import Primitives
import Synchronization
import Testing

@testable import Frames

/// Arenas in files that have less room than the arena's limit. A page that is touched without room is a SIGBUS,
/// which ends the tests.
@Suite(.enabled(if: geteuid() == 0, "only root can mount"))
struct RunOutTests {
  static let huge = FrameGeometry.framesPerHuge

  /// A file on a tmpfs of its own with room for so many blocks.
  @safe final class Place {
    let path: String
    let descriptor: Int32
    init(blocks: Int) throws {
      var template = Array("/tmp/hugemem-test.XXXXXX".utf8CString)
      path = unsafe String(cString: mkdtemp(&template))
      try #require(unsafe system("mount -t tmpfs -o size=\(2 * blocks)m none '\(path)'") == 0)
      descriptor = unsafe open(path + "/frames", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
      try #require(descriptor >= 0)
    }
    deinit {
      close(descriptor)
      _ = unsafe system("umount -l '\(path)' && rmdir '\(path)'")
    }
    var blocks: Int {
      var status = stat()
      return unsafe fstat(descriptor, &status) == 0 ? Int(status.st_blocks) >> 12 : -1
    }
    func arena(limit: Int) throws -> Arena {
      try #require(ftruncate(descriptor, off_t(limit + 4 << 20)) == 0)
      return try Arena(
        limit: UInt64(limit), file: ArenaFile(descriptor: descriptor, offset: 0, canRunOut: true))
    }
    func fill(leaving blocks: Int) {
      _ = unsafe system("head -c 1G /dev/zero > '\(path)/filler' 2>/dev/null")
      _ = unsafe system("truncate -s -\(2 * blocks)M '\(path)/filler'")
    }
    func empty() { unsafe unlink(path + "/filler") }
  }

  /// Takes small frames until there are none, and writes to each.
  private func fill(_ arena: Arena) -> [FrameNumber] {
    var frames: [FrameNumber] = []
    while let frame = arena.allocateSmallZeroed() {
      unsafe arena.address(frame).storeBytes(of: frame, as: FrameNumber.self)
      frames.append(frame)
    }
    return frames
  }

  @Test func allThatTheFileHasRoomForIsHandedOut() throws {
    let place = try Place(blocks: 8)
    let arena = try place.arena(limit: 64 << 20)
    var frames = fill(arena)
    #expect(frames.count == 8 * Self.huge)
    #expect(arena.allocate(order: FrameGeometry.hugeOrder, zeroed: true) == nil)
    for frame in frames {
      #expect(unsafe arena.address(frame).load(as: FrameNumber.self) == frame)
    }
    // What is freed in between stays the arena's, and can be had again.
    for frame in frames where frame % 2 == 0 { arena.release(frame) }
    arena.drainCaches()
    #expect(arena.trim(all: true) == 0 && place.blocks == 8)
    frames = frames.filter { $0 % 2 != 0 } + fill(arena)
    #expect(frames.count == 8 * Self.huge)
    for frame in frames { arena.release(frame) }
    arena.drainCaches()
    #expect(place.blocks == 0 && arena.framesResident == 0)
    #expect(arena.allocate(order: FrameGeometry.hugeOrder, zeroed: true) != nil)
  }

  @Test func theLimitHoldsToo() throws {
    let place = try Place(blocks: 8)
    // Not a multiple of 2 MiB.
    let arena = try place.arena(limit: 600 * FrameGeometry.frameSize)
    let frames = fill(arena)
    #expect(frames.count == 600 && place.blocks == 2)
    for frame in frames { arena.release(frame) }
  }

  @Test func roomComesAndGoes() throws {
    let place = try Place(blocks: 8)
    let arena = try place.arena(limit: 64 << 20)
    place.fill(leaving: 3)
    var frames = fill(arena)
    #expect(frames.count == 3 * Self.huge)
    place.empty()
    frames += fill(arena)
    #expect(frames.count == 8 * Self.huge)
    for frame in frames { arena.release(frame) }
  }

  @Test func threadsObtainNoMoreThanTheyNeed() throws {
    let place = try Place(blocks: 8)
    let arena = try place.arena(limit: 64 << 20)
    let all = Mutex<[FrameNumber]>([])
    let threads = (0..<4).compactMap { _ in
      WorkerThread {
        let mine = (0..<300).compactMap { _ in arena.allocateSmallZeroed() }
        all.withLock { $0 += mine }
      }
    }
    for thread in threads { thread.join() }
    let frames = all.withLock { $0 }
    #expect(frames.count == 1200 && Set(frames).count == 1200)
    #expect(place.blocks == 3)
    for frame in frames { arena.release(frame) }
  }

  /// A block of which some frames are in use, and the rest has no memory, since an earlier server punched holes.
  @Test(arguments: [true, false])
  func afterARecoveryNoFrameLacksItsMemory(_ hasRoom: Bool) throws {
    let place = try Place(blocks: 4)
    let limit = 64 << 20
    let arena = try place.arena(limit: limit)
    let used = FrameNumber(Self.huge + 5)
    unsafe arena.address(used).storeBytes(of: 7, as: UInt8.self)
    if !hasRoom { place.fill(leaving: 0) }
    let recovery = ArenaRecovery(arena)
    #expect(recovery.mark(used, as: .data) == .first)
    for block in recovery.used { recovery.settle(block: block) }
    #expect(recovery.rebuild() == 1)
    let frames = fill(arena)
    #expect(frames.count == (hasRoom ? 4 * Self.huge - 1 : 0))
    #expect(!frames.contains(used))
    #expect(unsafe arena.address(used).load(as: UInt8.self) == 7)
    for frame in frames + [used] { arena.release(frame) }
  }
}

import CLinux
import Glibc
import Primitives

/// "Physical memory": one reserved range of memory with huge pages advised, cut into 4 KiB frames by a
/// buddy allocator, with a hard limit. The memory is anonymous, or that of a file that outlives the
/// process; what the arena knows about the frames is the process's own (`Arena+Recovery`).
///
/// A frame is named by its number, so an arena can be mapped anywhere. A 2 MiB block goes back to
/// the system as soon as all of it is free. An allocation that fails returns nil and never traps.
///
/// Lock order: core cache → arena. Neither lock is ever held while memory is cleared or given back.
///
/// - Thread safety: all methods may be called on any thread.
/// - Complexity: allocation and free of a small frame touch only the core's cache in the common
///   case; otherwise O(orders).
@safe public final class Arena: @unchecked Sendable {
  // Sendable by the keys below: constant after init, atomic, or under a lock.

  /// (C) The address of frame 0, which itself is never used.
  public let base: UnsafeMutableRawPointer
  /// (C) One entry for each frame.
  @usableFromInline let metadata: UnsafeMutablePointer<FrameMetadata>
  /// (C) The largest limit that can be set, in frames.
  public let capacity: Int
  /// (C) Frames in the reserved range, including the first block, which is never used.
  let reserved: Int
  /// (C) Whether the frames lie in a memory file, and whether that can run out (`Arena+Blocks`).
  let isShared: Bool
  let canRunOut: Bool
  /// (A) For tests: counts down to the allocation that fails (`isToFail`); 0 if none does.
  let failing = AtomicWord(0)
  /// (C) The per-core caches.
  let caches: CoreCaches

  /// Guards the parts of huge frames, their mappings, and the queue of frames to be split. Taken
  /// alone.
  let splitLock = SpinLock()
  /// (L) splitLock: the head of the first frame in the queue, 0 for none.
  let splitQueue: UnsafeMutablePointer<FrameNumber>
  let lock = SpinLock()
  /// (L) Heads of the free lists by order, 0 for none. The lists of clean blocks follow the others.
  let heads: UnsafeMutablePointer<FrameNumber>
  /// (L) The first block that was never handed out.
  var nextFresh: FrameNumber
  /// (L) Free frames that still have memory of the system behind them, and the least number of them
  /// since the last `trim`, which nobody needed.
  var freeDirty = 0
  var leastDirty = 0
  /// (L) trimming: a frame of each block whose backing was split since the last call of `trim`.
  var splitBackings: [FrameNumber] = []
  /// (L) Blocks with `isKeptSmall`.
  var keptSmall = 0
  /// (L) Frames given back whose memory is not free yet, since the system's huge pages still hold
  /// it.
  var held = 0
  /// (L) The hard limit, in frames, and the part of it that only `urgent` callers may use: those
  /// that need a frame to free more.
  private(set) var limitLocked: Int
  private(set) var reserveLocked: Int
  /// (L) One description for each block of 2 MiB.
  let blocks: UnsafeMutablePointer<Block>
  /// (A), written under the lock: frames that the buddy allocator has handed out.
  let outstanding = AtomicWord(0)
  /// (A), written under the lock: frames that are promised to holders (`Arena+Promises`).
  let promised = AtomicWord(0)
  /// (A), written under the lock: free blocks that are in no list while they are being given back.
  let returning = AtomicWord(0)
  /// (L) Bytes given back to the system so far.
  var givenBack: UInt64 = 0

  /// Reserves the address range of an arena with a limit in bytes. No memory is committed yet. You
  /// can change the limit later, up to `capacity` bytes, which is at least `limit`.
  ///
  /// With `file`, the frames lie there. What they hold already is as free memory until `recover` has
  /// been told what is in use.
  public init(
    limit bytes: UInt64, capacity: UInt64? = nil, file: ArenaFile? = nil
  ) throws(ArenaError) {
    let most = max(bytes, capacity ?? bytes)
    guard bytes >= UInt64(FrameGeometry.hugeSize), most <= 1 << 43 else {
      throw .invalidLimit(bytes)
    }
    let limit = Int(bytes >> UInt64(FrameGeometry.frameShift))
    self.capacity = Int(most >> UInt64(FrameGeometry.frameShift))
    let blocks =
      (self.capacity + FrameGeometry.framesPerHuge - 1) / FrameGeometry.framesPerHuge + 1
    let reserved = blocks * FrameGeometry.framesPerHuge
    let length = reserved << FrameGeometry.frameShift
    let mapped =
      if let file {
        unsafe hm_map_file(file.descriptor, file.offset, length, 1)
      } else {
        unsafe hm_reserve(length, 1)
      }
    guard let base = unsafe mapped else { throw .reservationFailed(most) }
    guard let table = unsafe hm_reserve(Self.metadataBytes(reserved), 0) else {
      unsafe hm_release(base, length)
      throw .reservationFailed(most)
    }
    unsafe self.base = base
    unsafe metadata = table.bindMemory(to: FrameMetadata.self, capacity: reserved)
    isShared = file != nil
    canRunOut = file?.canRunOut ?? false
    limitLocked = limit
    reserveLocked = Self.reserve(of: limit)
    self.reserved = reserved
    unsafe heads = .allocate(capacity: Self.headCount)
    unsafe heads.initialize(repeating: 0, count: Self.headCount)
    // `calloc`, so that no page is touched before it is needed. The same holds for the metadata.
    unsafe self.blocks = calloc(blocks, MemoryLayout<Block>.stride)
      .bindMemory(to: Block.self, capacity: blocks)
    unsafe splitQueue = .allocate(capacity: 1)
    unsafe splitQueue.initialize(to: 0)
    // The first block stays unused, so that no frame has the number 0 (history item 4).
    nextFresh = FrameNumber(FrameGeometry.framesPerHuge)
    caches = CoreCaches()
  }

  deinit {
    unsafe hm_release(base, reserved << FrameGeometry.frameShift)
    unsafe hm_release(metadata, Self.metadataBytes(reserved))
    unsafe heads.deallocate()
    unsafe Glibc.free(blocks)
    unsafe splitQueue.deallocate()
  }

  /// The number of free lists, dirty and clean.
  static var headCount: Int { 2 * (FrameGeometry.hugeOrder + 1) }

  /// The hard limit, in frames. It may be below what is in use; then nothing can be allocated.
  public var limit: Int { lock.withLock { limitLocked } }

  /// Changes the limit, in frames. Values above `capacity` are cut to it. With `keepsPromises`, if
  /// the new limit is lower and there is not enough room below it for all frames handed out and
  /// promised, changes nothing and returns false.
  @discardableResult
  public func setLimit(_ frames: Int, keepsPromises: Bool = false) -> Bool {
    lock.withLock {
      let new = max(0, min(frames, capacity))
      if keepsPromises, new < limitLocked, framesPromised > 0, framesOut + framesPromised > new {
        return false
      }
      limitLocked = new
      reserveLocked = Self.reserve(of: new)
      return true
    }
  }

  /// The size of the reserve, in frames. A discard may need a frame to split something before it
  /// can free any. The kernel has its `min` watermark for the same reason.
  private static func reserve(of limit: Int) -> Int {
    min(limit / 4096, 64)
  }

  /// Bytes for the metadata of `frames` frames, rounded up to whole huge pages.
  private static func metadataBytes(_ frames: Int) -> Int {
    let mask = 0x1f_ffff
    return (frames * MemoryLayout<FrameMetadata>.stride + mask) & ~mask
  }

  /// The address of a frame's first byte. The caller keeps the frame alive.
  @inlinable @inline(__always)
  public func address(_ frame: FrameNumber) -> UnsafeMutableRawPointer {
    unsafe base + Int(frame) << FrameGeometry.frameShift
  }

  /// Frames handed out, not counting those in the core caches.
  public var framesInUse: Int { framesOut - framesCached }

  /// Free frames in the core caches.
  public var framesCached: Int { caches.count }
  /// Frames that the buddy allocator has handed out, including those in the core caches.
  public var framesOut: Int { Int(outstanding.load(.relaxed)) }

  /// Frames left for callers without a promise. Negative if more frames are in use or promised than
  /// the limit allows.
  public var framesFree: Int {
    let cached = framesCached
    return lock.withLock { limitLocked - framesOut - framesPromised + cached }
  }

  /// The approximate number of frames with memory of the system behind them: in use, free but not
  /// yet given back, or given back but not yet free in the system.
  public var framesResident: Int { lock.withLock { residentLocked } }
  /// `framesResident`, under the lock.
  var residentLocked: Int { framesOut + freeDirty + held }

  /// Gives the memory of a range of frames back to the system. The range reads as zeros afterwards.
  /// Returns 0 or the errno.
  func giveBackMemory(_ frame: FrameNumber, frames: Int) -> Int32 {
    let length = frames << FrameGeometry.frameShift
    return unsafe isShared
      ? hm_punch(address(frame), length) : hm_give_back(address(frame), length)
  }

  /// Bytes given back to the system since the start.
  public var bytesGivenBack: UInt64 { lock.withLock { givenBack } }
}

/// What the arena knows about a block of 2 MiB. A wholly free block is described only here, so that
/// the metadata of its frames, 8 KiB a block, goes back to the system with it.
struct Block {
  /// Links in the list of free blocks, 0 for none.
  var next: FrameNumber
  var previous: FrameNumber
  /// Whether it has no memory of the system behind it, so that it reads as zeros.
  var isClean: Bool
  /// Whether parts of it were given back and the system was asked to split the huge page behind it.
  var isSplit: Bool
  /// Whether the system may not back it with a huge page until it is wholly free.
  var isKeptSmall: Bool
}

/// Where an arena's frames lie if they are to outlive the process: a file of memory, from an offset on
/// that is a multiple of 2 MiB. The file is at least as long as the arena's capacity and 4 MiB more.
public struct ArenaFile: Sendable {
  public var descriptor: Int32
  public var offset: Int64
  /// Whether there may be no memory for a page of the file although the arena's limit allows it.
  public var canRunOut: Bool
  public init(descriptor: Int32, offset: Int64, canRunOut: Bool = false) {
    (self.descriptor, self.offset, self.canRunOut) = (descriptor, offset, canRunOut)
  }
}

/// Why an arena could not be made.
public enum ArenaError: Error, Equatable, Sendable {
  /// The limit, in bytes, is under 2 MiB or over 8 TiB.
  case invalidLimit(UInt64)
  /// The system refused the address range.
  case reservationFailed(UInt64)
}

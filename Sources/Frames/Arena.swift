import CLinux
import Glibc
import Primitives

/// "Physical memory": one reserved range of anonymous memory with huge pages advised, cut into
/// 4 KiB frames by a buddy allocator, with a hard limit.
///
/// A frame is named by its number, so an arena can be mapped anywhere. Freed memory goes back to
/// the system as soon as a whole 2 MiB block is free; a failed allocation is a value, not a trap.
///
/// Lock order: core cache → arena. Neither is ever held while memory is cleared or given back.
///
/// - Thread safety: all methods may be called on any thread.
/// - Complexity: allocation and free of a small frame touch only the core's cache in the common
///   case; otherwise O(orders).
@safe public final class Arena: @unchecked Sendable {
  // Sendable by the keys below: constant after init, atomic, or under a lock.

  /// (C) Where frame 0 would be.
  public let base: UnsafeMutableRawPointer
  /// (C) One entry a frame.
  @usableFromInline let metadata: UnsafeMutablePointer<FrameMetadata>
  /// (C) What the limit can be at most, in frames.
  public let capacity: Int
  /// (C) Frames in the reserved range, the unusable first block included.
  let reserved: Int
  /// (A) For tests: counts allocations down to the one that fails; 0: none does.
  let failing = AtomicWord(0)
  /// (C) The per-core caches.
  let caches: CoreCaches

  /// Taken alone: parts of huge frames, their mappings, and the queue of those to be split.
  let splitLock = SpinLock()
  /// (L) splitLock: the first head, 0 for none.
  let splitQueue: UnsafeMutablePointer<FrameNumber>
  let lock = SpinLock()
  /// (L) Heads of the free lists, 0 for none: by order, those of clean blocks behind the others.
  let heads: UnsafeMutablePointer<FrameNumber>
  /// (L) First block never handed out.
  var nextFresh: FrameNumber
  /// (L) Free frames that the system still has memory behind, and the least of it since the last
  /// `trim`: what nobody needed.
  var freeDirty = 0
  var leastDirty = 0
  /// (L) Frames given back that huge pages of the system's still hold on to.
  var held = 0
  /// (L) The hard limit, in frames, and what of it only those may take who give back more.
  private(set) var limitLocked: Int
  private(set) var reserveLocked: Int
  /// (L) By block of 2 MiB.
  let blocks: UnsafeMutablePointer<Block>
  /// (A), written under the lock: frames that the buddy allocator has out.
  let outstanding = AtomicWord(0)
  /// (A), written under the lock: frames kept for those they were promised to (`Arena+Promises`).
  let promised = AtomicWord(0)
  /// (A), written under the lock: free blocks in no list, since they are being given back.
  let returning = AtomicWord(0)
  /// (L) Bytes given back to the system so far.
  var givenBack: UInt64 = 0

  /// Reserves an arena of at most `limit` bytes; nothing is committed yet. The limit may be changed
  /// later, up to `capacity` bytes.
  public init(limit bytes: UInt64, capacity: UInt64? = nil) throws(ArenaError) {
    let most = max(bytes, capacity ?? bytes)
    guard bytes >= UInt64(FrameGeometry.hugeSize), most <= 1 << 43 else {
      throw .invalidLimit(bytes)
    }
    let limit = Int(bytes >> UInt64(FrameGeometry.frameShift))
    self.capacity = Int(most >> UInt64(FrameGeometry.frameShift))
    let blocks =
      (self.capacity + FrameGeometry.framesPerHuge - 1) / FrameGeometry.framesPerHuge + 1
    let reserved = blocks * FrameGeometry.framesPerHuge
    guard let base = unsafe hm_reserve(reserved << FrameGeometry.frameShift, 1) else {
      throw .reservationFailed(most)
    }
    guard let table = unsafe hm_reserve(Self.metadataBytes(reserved), 0) else {
      unsafe hm_release(base, reserved << FrameGeometry.frameShift)
      throw .reservationFailed(most)
    }
    unsafe self.base = base
    unsafe metadata = table.bindMemory(to: FrameMetadata.self, capacity: reserved)
    limitLocked = limit
    reserveLocked = Self.reserve(of: limit)
    self.reserved = reserved
    unsafe heads = .allocate(capacity: Self.headCount)
    unsafe heads.initialize(repeating: 0, count: Self.headCount)
    // Not touched before it is needed, as the metadata.
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

  /// Lists of free blocks, dirty and clean.
  static var headCount: Int { 2 * (FrameGeometry.hugeOrder + 1) }

  /// The hard limit, in frames. May be below what is in use: then nothing can be allocated.
  public var limit: Int { lock.withLock { limitLocked } }

  /// Changes the limit, to `capacity` at the most. With `keepsPromises` false is returned, and nothing
  /// changed, if a lower limit were less than what is out and what is promised.
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

  /// A discard may have to split something first: the kernel's `min` watermark, for the same reason.
  private static func reserve(of limit: Int) -> Int {
    min(limit / 4096, 64)
  }

  /// Room for the metadata of so many frames, in whole huge pages.
  private static func metadataBytes(_ frames: Int) -> Int {
    let mask = 0x1f_ffff
    return (frames * MemoryLayout<FrameMetadata>.stride + mask) & ~mask
  }

  /// The address of a frame's first byte. The caller keeps the frame alive.
  @inlinable @inline(__always)
  public func address(_ frame: FrameNumber) -> UnsafeMutableRawPointer {
    unsafe base + Int(frame) << FrameGeometry.frameShift
  }

  /// Frames handed out, those in the core caches not counted.
  public var framesInUse: Int { framesOut - framesCached }

  /// Free frames in the core caches.
  public var framesCached: Int { caches.count }
  /// Frames that the buddy allocator has out, those in the core caches included.
  public var framesOut: Int { Int(outstanding.load(.relaxed)) }

  /// Frames that who was promised none can have. Negative where more is in use or promised than the
  /// limit.
  public var framesFree: Int {
    let cached = framesCached
    return lock.withLock { limitLocked - framesOut - framesPromised + cached }
  }

  /// Frames that the system has memory behind, about: in use, free and not given back yet, or given
  /// back and not free to the system yet.
  public var framesResident: Int { lock.withLock { residentLocked } }
  /// Under the lock.
  var residentLocked: Int { framesOut + freeDirty + held }

  /// Bytes that went back to the system since the start.
  public var bytesGivenBack: UInt64 { lock.withLock { givenBack } }
}

/// What the arena knows of a block of 2 MiB. A block that is wholly free is described here alone, so
/// that the metadata of its frames goes back to the system with it: 8 KiB for each.
struct Block {
  /// Links of the list of free blocks, 0 for none.
  var next: FrameNumber
  var previous: FrameNumber
  /// Whether the system has just given it, so that it reads as zeros.
  var isClean: Bool
  /// Whether parts of it were given back, and the system was asked to split its huge page for them.
  var isSplit: Bool
}

/// Why an arena could not be made.
public enum ArenaError: Error, Equatable, Sendable {
  /// The limit, in bytes, is under 2 MiB or over 8 TiB.
  case invalidLimit(UInt64)
  /// The system refused the address range.
  case reservationFailed(UInt64)
}

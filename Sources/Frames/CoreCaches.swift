import CLinux
import Glibc
import Primitives

/// A cache of small frames for each core, so that faults on different cores do not contend for the
/// arena's lock. Kernel counterpart: the per-CPU page lists (`mm/page_alloc.c`, pcp).
///
/// Each cache has a lock instead of being pinned to its core: user space cannot disable preemption,
/// and an uncontended lock is one compare-and-swap.
@safe final class CoreCaches: @unchecked Sendable {
  // Sendable: the pointers to the caches are constant, and each cache has its own lock.

  static let capacity = FrameGeometry.cacheCapacity
  static let batch = FrameGeometry.cacheBatch
  static let cacheCount = 64

  @safe struct Cache: ~Copyable {
    let lock = SpinLock()
    /// (A), written under the lock.
    let filled = AtomicWord(0)
    /// (L) `capacity` frame numbers.
    let frames: UnsafeMutablePointer<FrameNumber>
    /// (L) `filled` at the last `trim`.
    var filledAtTrim: UInt64 = 0
    init() { unsafe frames = .allocate(capacity: CoreCaches.capacity) }
    deinit { unsafe frames.deallocate() }
  }

  /// (C) One cache per core. On a machine with more than `cacheCount` cores, several share a cache.
  let caches: UnsafeMutablePointer<Cache>
  let used: Int

  init() {
    used = min(Self.cacheCount, max(1, Int(sysconf(Int32(_SC_NPROCESSORS_CONF)))))
    unsafe caches = .allocate(capacity: used)
    for index in 0..<used { unsafe (caches + index).initialize(to: Cache()) }
  }

  deinit {
    unsafe caches.deinitialize(count: used)
    unsafe caches.deallocate()
  }

  /// The cache of the core this thread runs on.
  @inline(__always)
  var current: UnsafeMutablePointer<Cache> {
    unsafe caches + Int(hm_current_core()) % used
  }

  /// The sum of frames in all caches. The caches are not counted at one instant.
  var count: Int {
    var sum = 0
    for index in 0..<used { sum += unsafe Int(caches[index].filled.load(.relaxed)) }
    return sum
  }
}

extension Arena {
  /// Allocates one small frame with one reference and undefined contents. Returns nil if the limit
  /// is reached. `own` is as in `allocate`. The caches are never filled with promised frames.
  public func allocateSmall(own: Int = 0) -> FrameNumber? {
    if failing.load(.relaxed) != 0 && isToFail() { return nil }
    let cache = unsafe caches.current
    let frame: FrameNumber? = unsafe cache.pointee.lock.withLock {
      var filled = unsafe Int(cache.pointee.filled.load(.relaxed))
      if filled == 0 {
        lock.withLock {
          while filled < CoreCaches.batch, let (frame, _) = takeLocked(0) {
            unsafe cache.pointee.frames[filled] = frame
            filled += 1
          }
        }
        guard filled > 0 else { return nil }
        // The lowest numbers leave first, so that what is written together lies together.
        let fresh = unsafe UnsafeMutableBufferPointer(start: cache.pointee.frames, count: filled)
        for index in 0..<filled / 2 { unsafe fresh.swapAt(index, filled - 1 - index) }
      }
      unsafe cache.pointee.filled.store(UInt64(filled - 1), .relaxed)
      return unsafe cache.pointee.frames[filled - 1]
    }
    guard let frame else { return allocateBlock(order: 0, zeroed: false, own: own) }
    unsafe metadata[Int(frame)].word.store(FrameState.allocated(order: 0), .relaxed)
    if own > 0 { changePromise(by: -1) }
    return frame
  }

  /// Allocates one small frame and clears it. `own` is as in `allocate`. `urgent` allows the use of
  /// the reserve, for callers that need a frame to free more.
  public func allocateSmallZeroed(own: Int = 0, urgent: Bool = false) -> FrameNumber? {
    var frame = allocateSmall(own: own)
    if frame == nil && urgent {
      repeat {
        frame = lock.withLock { takeLocked(0, own: own, urgent: true)?.0 }
      } while frame == nil && canRunOut && obtainBlock(for: 0, own: own, urgent: true)
    }
    guard let frame else { return nil }
    clear(frame, order: 0)
    return frame
  }

  /// Frees a small frame that has no references left.
  func freeSmall(_ frame: FrameNumber) {
    // The frame may already be promised to its holder again, and anybody could take it from a
    // cache. `relaxed` is enough: the promise was made before the frame was unmapped, and the frame
    // was unmapped before it is freed here.
    if promised.load(.relaxed) != 0 { return giveBack(frame, order: 0) }
    let cache = unsafe caches.current
    let kept: Bool = unsafe cache.pointee.lock.withLock {
      let filled = unsafe Int(cache.pointee.filled.load(.relaxed))
      guard filled < CoreCaches.capacity else { return false }
      unsafe cache.pointee.frames[filled] = frame
      unsafe cache.pointee.filled.store(UInt64(filled + 1), .relaxed)
      return true
    }
    if !kept { giveBack(frame, order: 0) }
  }

  /// Empties all core caches, so that blocks whose last used frames were cached become wholly free.
  public func drainCaches() { drainCaches(idle: false) }

  /// Empties the caches; with `idle`, only those that hold as many frames as at the last such call.
  /// Nobody used them in between, or no more than they got back.
  func drainCaches(idle: Bool) {
    for index in 0..<caches.used {
      let cache = unsafe caches.caches + index
      if idle {
        let isIdle: Bool = unsafe cache.pointee.lock.withLock {
          let filled = unsafe cache.pointee.filled.load(.relaxed)
          defer { unsafe cache.pointee.filledAtTrim = filled }
          return unsafe filled == cache.pointee.filledAtTrim
        }
        guard isIdle else { continue }
      }
      var batch = true
      while batch {
        // One frame at a time: a block must not be given back to the system under the cache's lock.
        let frame: FrameNumber = unsafe cache.pointee.lock.withLock {
          let filled = unsafe Int(cache.pointee.filled.load(.relaxed))
          guard filled > 0 else { return 0 }
          unsafe cache.pointee.filled.store(UInt64(filled - 1), .relaxed)
          return unsafe cache.pointee.frames[filled - 1]
        }
        batch = frame != 0
        if batch { giveBack(frame, order: 0) }
      }
    }
  }
}

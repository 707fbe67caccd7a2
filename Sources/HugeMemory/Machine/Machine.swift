import CLinux
import Frames
import Glibc
import GracePeriods
import HugeZeroPage
import Paging
import Primitives

/// Memory for address spaces: an arena with a hard limit, one zero page, and what was unmapped
/// but may still be read.
///
///     let machine = try Machine(limit: 1 << 30)            // at most 1 GiB
///     let space = try machine.makeSpace(size: 1 << 40)     // 1 TiB that costs nothing yet
///     try space.store(UInt64(42), at: 1 << 39)             // 4 KiB, and its page tables
///
/// A machine looks after itself: a thread of its own gives memory back, reclaims where it gets short
/// and makes huge frames of dense memory (see `Background`). You, and each of its spaces, keep the
/// machine; with the last reference it gives all its memory back and its thread ends.
///
/// - Thread safety: every method may be called on any thread.
public final class Machine: Sendable {
  let arena: Arena
  let grace: GracePeriod
  let events = Counters()
  let retired: RetiredList
  let scanList = ScanList()
  /// (C)
  let zeroReference: Policy.ZeroReference
  /// (A) The policy's word: a fault decides on one load of it.
  private let knobs: AtomicWord
  // Every fault reads the fields above; those below are written. A cache line between them keeps
  // one table's reference from costing every other thread's next fault a miss.
  private let before = InlineArray<8, UInt64>(repeating: 0)
  let zeroPage = HugeZeroPage()
  /// (A) Whether the reference of `neverFreed` has been taken.
  let pinned = AtomicWord(0)
  private let behind = InlineArray<8, UInt64>(repeating: 0)
  /// Who gives memory back when it is short; users may register their own.
  public let shrinkers = ShrinkerRegistry()
  /// (A) Whether reads may map the zero page: a `Withheld`.
  let withheld = AtomicWord(Withheld.no)
  /// Taken first of all: a thread is in direct reclaim.
  let reclaiming = Lock()
  /// (A) Times that a knob or the limit was set. Whoever puts work off looks here before it waits on:
  /// what is set in a running machine acts at once. The `release` of a change pairs with the
  /// `acquire` of who sees it: the new value comes with it.
  let changes = ChangeWord(0)
  /// (L) reclaiming: direct reclaim's looks through memory that found nothing; of all of it, and of the
  /// huge frames alone.
  @safe nonisolated(unsafe) var fruitless = Fruitless()
  @safe nonisolated(unsafe) var fruitlessSplit = Fruitless()
  @safe nonisolated(unsafe) var sparseScanner = SlotScanner()
  /// (C) Nanoseconds that direct reclaim looks through memory for.
  @safe nonisolated(unsafe) var directReclaimTime: UInt64 = 100_000_000
  /// (C) once other threads know the machine.
  @safe nonisolated(unsafe) var budget: (any MemoryBudget)?
  /// (C) once other threads know the machine. What ends with it.
  @safe nonisolated(unsafe) var companion: AnyObject?

  /// A machine without a background.
  init(
    limit: UInt64, capacity: UInt64? = nil, policy: Policy, grace: GracePeriod
  ) throws(MemoryError) {
    do {
      arena = try Arena(limit: limit, capacity: capacity)
    } catch .invalidLimit(let bytes) {
      throw .invalidSize(bytes, reason: "a memory limit lies between 2 MiB and 8 TiB")
    } catch {
      throw .system(call: "mmap", errno: 12)
    }
    zeroReference = policy.zeroReference
    knobs = AtomicWord(policy.word)
    self.grace = grace
    retired = RetiredList()
    registerShrinkers()
  }

  /// How this machine pages now.
  public var policy: Policy { Policy(word: knobs.load(.relaxed)) }

  /// Changes how this machine pages, for faults from now on and for the background's next turn, within
  /// a tenth of a second. `zeroReference` and `followsLinux` stay what they are.
  public func tune(_ change: (inout Policy) -> Void) {
    let old = policy
    var new = old
    change(&new)
    new.zeroReference = old.zeroReference
    new.followsLinux = old.followsLinux
    knobs.store(new.word, .relaxed)
    changes.add(1, .release)
  }

  /// A new space of `size` bytes, all untouched. Costs an object until it is used. Throws
  /// `invalidSize` unless that is 1 byte to 256 TiB.
  public func makeSpace(size: UInt64) throws(MemoryError) -> AddressSpace {
    guard size > 0, size <= AddressSpace.maximalSize else {
      throw .invalidSize(size, reason: "a space has 1 byte to 256 TiB")
    }
    return AddressSpace(size: size, root: .none, machine: self)
  }

  /// The hard limit, in bytes, of data, tables and the zero page together. With a budget it is what
  /// the system could spare at the last look.
  public var limit: UInt64 { budget?.limit ?? Self.bytes(arena.limit) }

  /// The most that the limit may become, in bytes.
  public var capacity: UInt64 { Self.bytes(arena.capacity) }

  /// Changes the limit, in bytes, to `capacity` at the most. With a budget you change its ceiling.
  ///
  /// You may set less than is in use: what is there stays, and nothing new is written until enough was
  /// discarded. If you set less than is in use and promised, a reserved space still has its reserve as
  /// far as the other reserves leave room for it, and nobody else gets memory. With `keepsPromises`
  /// that is refused: false is returned, and nothing changed.
  ///
  /// - Complexity: O(1), and O(cores) where the limit is lowered below what is in use.
  @discardableResult
  public func setLimit(_ bytes: UInt64, keepsPromises: Bool = false) -> Bool {
    defer { changes.add(1, .release) }
    guard let budget else { return setGrant(bytes, keepsPromises: keepsPromises) }
    // First, so that nothing more is promised within the old one.
    let old = budget.setCeiling(bytes)
    let isSet = setGrant(min(bytes, Self.bytes(arena.limit)), keepsPromises: keepsPromises)
    if !isSet { budget.setCeiling(old) }
    budget.follow(self)
    return isSet
  }

  /// What may be in use now, in bytes.
  @discardableResult
  func setGrant(_ bytes: UInt64, keepsPromises: Bool = false) -> Bool {
    let frames = Self.frames(bytes)
    guard arena.setLimit(frames, keepsPromises: keepsPromises) else { return false }
    // Those that the cores keep count as out already, and would be had above the limit.
    if frames < arena.framesOut { arena.drainCaches() }
    return true
  }

  /// Bytes of frames in use: data, tables and the zero page.
  public var memoryUsed: UInt64 { Self.bytes(arena.framesInUse) }

  /// Bytes of those that are tables.
  public var memoryTables: UInt64 { Self.bytes(events.tables) }

  /// Bytes that the system has memory behind, about: what is in use, and what is free but is not
  /// the system's yet.
  public var memoryResident: UInt64 { Self.bytes(arena.framesResident) }

  static func bytes(_ frames: Int) -> UInt64 {
    UInt64(max(0, frames)) << UInt64(FrameGeometry.frameShift)
  }
  /// Rounded down.
  static func frames(_ bytes: UInt64) -> Int {
    Int(clamping: bytes >> UInt64(FrameGeometry.frameShift))
  }

  /// Bytes that went back to the system since the start.
  public var bytesGivenBack: UInt64 { arena.bytesGivenBack }

  /// References held on the zero page, the shrinker's included; 0 when there is none.
  public var zeroPageReferences: UInt32 { zeroPage.snapshot().count }

  /// How often each event has happened so far, by the kernel's names (`/proc/vmstat`).
  public var counters: [(name: String, value: UInt64)] { events.all }

  /// Waits for a grace period and frees all that was unmapped before the call: for exact figures. The
  /// background does it by itself.
  ///
  /// - Complexity: O(what was unmapped).
  public func settle() {
    retired.drain(into: self)
    arena.drainCaches()
  }

  /// Gives free memory between frames in use back to the system: what nobody needed since the last
  /// call, or `all`. Returns the bytes. The background does it five times a second.
  @discardableResult
  public func trim(all: Bool = false) -> UInt64 { Self.bytes(arena.trim(all: all)) }

  /// Settles, then frees the parts of split huge frames that nobody maps, and the zero page if nobody
  /// holds it. Returns the bytes freed.
  @discardableResult
  public func shrink() -> UInt64 {
    let before = arena.framesInUse
    freeUnused()
    return Self.bytes(before - arena.framesInUse)
  }

  /// Frees what costs nobody anything.
  func freeUnused() {
    // First what waits, since it may be what makes a frame one of small mappings alone.
    settle()
    splitDeferred()
    settle()
    freeZeroPage()
  }

  /// Lets the zero page's shrinker free it if nobody holds it.
  @discardableResult
  func freeZeroPage() -> Bool {
    guard zeroPage.shrinkerScan(to: self) > 0 else { return false }
    events.zeroPageFree.count()
    return true
  }

  var full: MemoryError { .outOfMemory(limit: limit) }
}

// The machine is where the zero page's frame comes from.
extension Machine: ZeroFrameSource {
  public func allocateZeroFrame() -> UInt32? {
    guard let frame = arena.allocate(order: FrameGeometry.hugeOrder, zeroed: true) else {
      return nil
    }
    // Read-only in hardware: a stray write faults instead of leaking into every other reader. If
    // the system has no room for another mapping there is no zero page, and reads do without.
    guard unsafe hm_protect(arena.address(frame), FrameGeometry.hugeSize, 0) == 0 else {
      arena.release(frame)
      return nil
    }
    assert(isZero(frame, count: FrameGeometry.hugeSize), "zero page: not zero at its publication")
    return frame
  }

  public func freeZeroFrame(_ frame: UInt32) {
    assert(isZero(frame, count: FrameGeometry.hugeSize), "zero page: not zero at its free")
    // A frame that cannot be written to is not handed out again.
    guard unsafe hm_protect(arena.address(frame), FrameGeometry.hugeSize, 1) == 0 else { return }
    arena.release(frame)
  }

  /// Whether the first `count` bytes from a frame on, 2 MiB at the most, are zeros.
  func isZero(_ frame: FrameNumber, count: Int) -> Bool {
    unsafe memcmp(arena.address(frame), ZeroSource.page, count) == 0
  }

  /// Takes references on the zero page, allocating it if need be; nil if that fails, or if it is
  /// being withheld.
  func getZeroPage(count: UInt32 = 1) -> FrameNumber? {
    guard allowsZeroPage() else { return nil }
    switch zeroPage.get(count: count, from: self) {
    case .shared(let frame): return frame
    case .published(let frame):
      // Counted when published, not when allocated (history item 22).
      events.zeroPageAlloc.count()
      return frame
    case .unavailable:
      events.zeroPageAllocFailed.count()
      return nil
    }
  }

  /// Takes a reference on the zero page if there is one. Never allocates: for callers under a lock.
  func getPublishedZeroPage() -> Bool {
    guard allowsZeroPage() else { return false }
    return if case .shared = zeroPage.get(from: NoFrames()) { true } else { false }
  }
}

/// A source with nothing to give.
private struct NoFrames: ZeroFrameSource {
  func allocateZeroFrame() -> UInt32? { nil }
  func freeZeroFrame(_ frame: UInt32) { preconditionFailure("zero page: freed to no arena") }
}

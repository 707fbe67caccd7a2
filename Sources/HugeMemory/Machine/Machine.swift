import Frames
import GracePeriods
import HugeZeroPage
import Paging
import Primitives

/// Memory for address spaces, up to a hard limit.
///
/// All spaces of a machine share its frames and its one page of zeros. What is unmapped but may still
/// be read waits for a grace period before it is used again.
///
///     let machine = try Machine(limit: 1 << 30)            // at most 1 GiB
///     let space = try machine.makeSpace(size: 1 << 40)     // 1 TiB that costs nothing yet
///     try space.store(UInt64(42), at: 1 << 39)             // 4 KiB, and its page tables
///
/// A machine looks after itself. Its own thread gives memory back, reclaims when memory gets short
/// and makes huge frames of dense memory (see `Background`). You and each of its spaces hold a
/// reference to the machine. With the last reference, all its memory goes back to the system and
/// its thread ends.
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
  // Every fault reads the fields above; the fields below are written. The cache line between them
  // keeps a reference that one table takes from costing every other thread's next fault a cache
  // miss.
  private let before = InlineArray<8, UInt64>(repeating: 0)
  let zeroPage = HugeZeroPage()
  /// (A) Whether the reference of `neverFreed` has been taken.
  let pinned = AtomicWord(0)
  private let behind = InlineArray<8, UInt64>(repeating: 0)
  /// Gives memory back when it is short. You can register shrinkers of your own.
  public let shrinkers = ShrinkerRegistry()
  /// (A) Whether reads may map the zero page: a `Withheld`.
  let withheld = AtomicWord(Withheld.no)
  /// Held during direct reclaim. First in the lock order.
  let reclaiming = Lock()
  /// (A) How often a knob or the limit was set. Code that puts work off checks this before it waits
  /// any longer, so a change in a running machine takes effect at once. The `release` of a change
  /// pairs with the `acquire` of the check: a thread that sees the count sees the new value.
  let changes = ChangeWord(0)
  /// (A) How many loaders bring contents that tables already name (`holdContents`).
  private let loaders = ChangeWord(0)
  /// (L) reclaiming: the last search by direct reclaim that found nothing, of all memory and of
  /// huge frames only.
  @safe nonisolated(unsafe) var fruitless = Fruitless()
  @safe nonisolated(unsafe) var fruitlessSplit = Fruitless()
  @safe nonisolated(unsafe) var sparseScanner = SlotScanner()
  /// (C) How long direct reclaim may search memory, in nanoseconds.
  @safe nonisolated(unsafe) var directReclaimTime: UInt64 = 100_000_000
  /// (C) once other threads know the machine.
  @safe nonisolated(unsafe) var budget: (any MemoryBudget)?
  /// (C) once other threads know the machine. The background thread, which ends with the machine.
  @safe nonisolated(unsafe) var companion: AnyObject?

  /// A machine without a background.
  init(
    limit: UInt64, capacity: UInt64? = nil, policy: Policy, grace: GracePeriod,
    file: ArenaFile? = nil
  ) throws(MemoryError) {
    do {
      arena = try Arena(limit: limit, capacity: capacity, file: file)
    } catch .invalidLimit(let bytes) {
      throw .invalidSize(bytes, reason: "a memory limit must be 2 MiB to 8 TiB")
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

  /// Changes how this machine pages. Faults follow the new policy at once, and the background with
  /// its next turn, within a tenth of a second. `zeroReference` and `followsLinux` stay what they
  /// are.
  public func tune(_ change: (inout Policy) -> Void) {
    let old = policy
    var new = old
    change(&new)
    new.zeroReference = old.zeroReference
    new.followsLinux = old.followsLinux
    knobs.store(new.word, .relaxed)
    changes.add(1, .release)
  }

  /// Makes a space of `size` bytes, all untouched. It costs one object until it is used. Throws
  /// `invalidSize` unless `size` is 1 byte to 256 TiB.
  public func makeSpace(size: UInt64) throws(MemoryError) -> AddressSpace {
    guard size > 0, size <= AddressSpace.maximalSize else {
      throw .invalidSize(size, reason: "a space must have 1 byte to 256 TiB")
    }
    return AddressSpace(size: size, root: .none, machine: self)
  }

  /// A space with the tables below `root`, whose reference it takes over. For contents that were made
  /// elsewhere.
  package func adoptSpace(size: UInt64, root: Entry) throws(MemoryError) -> AddressSpace {
    let space = AddressSpace(size: size, root: root, machine: self)
    if root.kind == .table { space.lock.withLock { _ = space.makeScannable() } }
    return space
  }

  /// From now on, until `releaseContents`, tables may lack entries and huge frames may lack contents that a
  /// loader still brings. So no scanner makes anything of what it finds there. Call it before any other
  /// thread knows such a table.
  package func holdContents() { loaders.add(1, .sequential) }
  /// All that the loader had to bring is there.
  package func releaseContents() { loaders.add(0 &- 1, .sequential) }
  /// How many loaders there are. `acquire` pairs with the change in `releaseContents`.
  var absentContents: UInt64 { loaders.load(.acquire) }

  /// The memory itself, for contents that are made elsewhere.
  package var frames: Arena { arena }

  /// Drops a reference on a table of that level, and with the last one all that is below it.
  package func dispose(table: FrameNumber, level: Int) { disposeTable(table, level: level) }

  /// The hard limit, in bytes, of data, tables and the zero page together. With a budget, it is
  /// what the budget last found that the system could spare.
  public var limit: UInt64 { budget?.limit ?? Self.bytes(arena.limit) }

  /// The highest possible limit, in bytes.
  public var capacity: UInt64 { Self.bytes(arena.capacity) }

  /// Changes the limit, in bytes. A limit above `capacity` counts as `capacity`. With a budget,
  /// this changes the budget's ceiling.
  ///
  /// You can set a limit below what is in use. Data stays, and nothing new can be written until
  /// enough is discarded. If the limit is below what is in use and promised, only spaces with a
  /// reserve still get memory: each can use its reserve as far as the other reserves leave room.
  /// With `keepsPromises`, such a limit is refused: this returns false and changes nothing.
  ///
  /// - Complexity: O(1); O(cores) if the limit falls below what is in use.
  @discardableResult
  public func setLimit(_ bytes: UInt64, keepsPromises: Bool = false) -> Bool {
    defer { changes.add(1, .release) }
    guard let budget else { return setGrant(bytes, keepsPromises: keepsPromises) }
    // The ceiling first, so that nothing more is promised within the old one.
    let old = budget.setCeiling(bytes)
    let isSet = setGrant(min(bytes, Self.bytes(arena.limit)), keepsPromises: keepsPromises)
    if !isSet { budget.setCeiling(old) }
    budget.follow(self)
    return isSet
  }

  /// Sets how much may be in use now, in bytes.
  @discardableResult
  func setGrant(_ bytes: UInt64, keepsPromises: Bool = false) -> Bool {
    let frames = Self.frames(bytes)
    guard arena.setLimit(frames, keepsPromises: keepsPromises) else { return false }
    // Frames in the cores' caches already count as out, so they could be taken above the limit.
    if frames < arena.framesOut { arena.drainCaches() }
    return true
  }

  /// Bytes of frames in use: data, tables and the zero page.
  public var memoryUsed: UInt64 { Self.bytes(arena.framesInUse) }

  /// The part of `memoryUsed` that is tables, in bytes.
  public var memoryTables: UInt64 { Self.bytes(events.tables) }

  /// About how many bytes the system backs with memory: what is in use, and what is free but has
  /// not gone back to the system yet.
  public var memoryResident: UInt64 { Self.bytes(arena.framesResident) }

  static func bytes(_ frames: Int) -> UInt64 {
    UInt64(max(0, frames)) << UInt64(FrameGeometry.frameShift)
  }
  /// Rounded down.
  static func frames(_ bytes: UInt64) -> Int {
    Int(clamping: bytes >> UInt64(FrameGeometry.frameShift))
  }

  /// Bytes given back to the system since the start.
  package var bytesGivenBack: UInt64 { arena.bytesGivenBack }

  /// References held on the zero page, the shrinker's included; 0 when there is none.
  public var zeroPageReferences: UInt32 { zeroPage.snapshot().count }

  /// The names of the counters, in the order of `/proc/vmstat`.
  package static let counterNames = Counters().all.map(\.name)

  /// How often this process has waited for all readers, so that memory could be used again.
  package var gracePeriods: UInt64 { grace.count }

  /// How often each event has happened so far, by the kernel's names (`/proc/vmstat`). Each value is
  /// exact once the threads that use the machine are at rest.
  ///
  /// - Complexity: O(counters): some hundred loads.
  public var counters: [(name: String, value: UInt64)] { events.all }

  /// Waits for a grace period and frees all that was unmapped before the call. Call it before you
  /// read exact figures; otherwise the background does it.
  ///
  /// - Complexity: O(what was unmapped).
  public func settle() {
    retired.drain(into: self)
    arena.drainCaches()
  }

  /// Gives free memory between frames in use back to the system: what nobody needed since the last
  /// call, or everything if `all` is true. Returns the number of bytes. The background does this
  /// five times a second.
  @discardableResult
  public func trim(all: Bool = false) -> UInt64 { Self.bytes(arena.trim(all: all)) }

  /// Settles, then frees the parts of split huge frames that nobody maps, and the zero page if
  /// nobody holds it. Returns the number of bytes freed.
  @discardableResult
  public func shrink() -> UInt64 {
    let before = arena.framesInUse
    freeUnused()
    return Self.bytes(before - arena.framesInUse)
  }

  /// Frees memory that nobody uses.
  func freeUnused() {
    // First what waits for a grace period: it may be the last mapping that keeps a queued huge
    // frame from being split.
    settle()
    splitDeferred()
    settle()
    freeZeroPage()
  }

  /// Lets the zero page's shrinker free it if nobody holds it.
  @discardableResult
  func freeZeroPage() -> Bool {
    guard zeroPage.shrinkerScan(to: zeroFrames) > 0 else { return false }
    events.zeroPageFree.count()
    return true
  }

  var full: MemoryError { .outOfMemory(limit: limit) }
}

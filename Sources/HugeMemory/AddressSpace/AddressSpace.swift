import CLinux
import Glibc

#if INTERLEAVE
  public import Interleave
#else
  public import Frames
  public import GracePeriods
  public import Paging
  public import Primitives
#endif

/// A sparse range of memory of up to 256 TiB that reads as zeros until it is written, forks in
/// O(1) and copies on write at 4 KiB.
///
/// Untouched memory costs nothing. Memory that was only read maps the machine's one zero page. All
/// offsets and lengths are in bytes and may be unaligned.
///
/// - Thread safety: every method may be called on any thread. Reads take no lock, and neither do
///   writes to memory that this space alone owns. A fork contains every write that returned before
///   it. A read or write that overlaps a concurrent write sees a mixture, as with `pread(2)`.
public final class AddressSpace: Sendable {
  // Locking: `lock` serialises everything that changes a table. It is never taken within a
  // grace-period section, and a thread that holds it may wait for a grace period. If `root` has no
  // `W`, every writer takes the lock.

  /// The most bytes that a space can have: 256 TiB.
  public static let maximalSize: UInt64 = 1 << 48

  /// The largest size, in bytes, with as many levels of tables as this one: 1 GiB, 512 GiB or 256
  /// TiB. A space of that size costs no more than one of `size`.
  package static func largestSize(asDeepAs size: UInt64) -> UInt64 {
    min(Radix.span(Radix.level(forSize: size) + 1), maximalSize)
  }

  /// The size in bytes. It never changes.
  public let size: UInt64
  /// The machine that its memory comes from.
  public let machine: Machine
  /// All offsets of this space: `0..<size`.
  public var bounds: Range<UInt64> { 0..<size }
  /// (C) Copies of the machine's references. A read is a chain of loads that the page has to wait
  /// for, and these make the chain three loads shorter.
  @usableFromInline package let arena: Arena
  @usableFromInline package let grace: GracePeriod
  /// (C) The level of the root table.
  @usableFromInline package let level: Int
  /// (A) A table entry or none; written under the lock, by `storeRoot`.
  @usableFromInline package let root: AtomicWord
  let lock = Lock()
  /// (L) lock: where the root also is if it outlives the process (`AddressSpace+Durable`).
  @safe nonisolated(unsafe) var durableRoot: DurableRoot?
  /// (L) lock: what is mapped where; nil as long as the whole space is one mapping that allows
  /// reads and writes.
  @safe nonisolated(unsafe) var mappings: MappingList?
  /// (L) lock: what the space may take and what is kept for it; nil without limits.
  @safe nonisolated(unsafe) var limits: Limits?
  /// (L) lock: the scanners' reference to this space.
  @safe nonisolated(unsafe) var scanHandle: ScanHandle?
  /// (L) lock: whether tables may come from the arena's reserve, because the operation will give
  /// back more.
  @safe nonisolated(unsafe) var givesBack = false
  /// (L) lock: the slots whose memory is used in place (`AddressSpace+Hold`), and by how many.
  @safe nonisolated(unsafe) var holds: [UInt64: Int] = [:]
  /// (L) lock: the space that this one was forked from. It may be gone.
  @safe nonisolated(unsafe) var originHandle: ScanHandle?
  /// (A) Whether there are `mappings`; written under the lock. With mappings, a hole may be memory
  /// that is not mapped at all.
  let hasMappings: AtomicWord

  init(size: UInt64, root: Entry, mappings: MappingList? = nil, machine: Machine) {
    self.size = size
    self.machine = machine
    arena = machine.arena
    grace = machine.grace
    level = Radix.level(forSize: size)
    self.root = AtomicWord(root.raw)
    self.mappings = mappings
    hasMappings = AtomicWord(mappings == nil ? 0 : 1)
  }

  deinit {
    scanHandle?.detach()
    if originHandle != nil { machine.events.forkGone.count() }
    // Nobody can be reading, because a reader holds the object. So this needs no grace period.
    let entry = Entry(raw: root.load(.acquire))
    if entry.kind == .table { machine.disposeTable(entry.frame, level: level) }
    if let limits { arena.changePromise(by: -limits.promised) }
  }

  @inline(__always)
  func check(_ offset: UInt64, _ length: UInt64) throws(MemoryError) {
    guard offset <= size, length <= size - offset else {
      throw .outOfRange(offset: offset, length: length, size: size)
    }
  }

  /// What a walk from the root found at level 2, the level of 2 MiB entries.
  @usableFromInline package struct Slot {
    /// none, zero, huge or table.
    @usableFromInline package var entry: Entry
    /// Whether this space alone owns every table above.
    @usableFromInline package var exclusive: Bool
    @inlinable package init(entry: Entry, exclusive: Bool) {
      self.entry = entry
      self.exclusive = exclusive
    }
  }

  /// Walks down to the 2 MiB entry. Only within a section, or under the lock.
  @inlinable @inline(__always)
  package func slot(_ offset: UInt64) -> Slot {
    var entry = Entry(raw: root.load(.acquire))
    var exclusive = true
    var depth = level
    while depth >= 2 {
      guard entry.kind == .table else { return Slot(entry: .none, exclusive: exclusive) }
      exclusive = exclusive && entry.isWritable
      entry = Table(entry.frame, in: arena)[Radix.index(offset, depth)]
      depth -= 1
    }
    return Slot(entry: entry, exclusive: exclusive)
  }

  /// Starts to fetch a page before its entry is known. Pages written in order lie behind their
  /// table, because a core's frames are handed out in order. A wrong guess costs two cache lines.
  /// In a large working set, entry and page both miss every cache and the TLB. One wait instead of
  /// two takes a seventh off the whole.
  @inline(__always)
  func prefetch(_ offset: UInt64, behind table: Table) {
    let page = table.frame &+ 1 &+ FrameNumber(truncatingIfNeeded: Radix.index(offset, 1))
    let within = Int(truncatingIfNeeded: offset & UInt64(FrameGeometry.frameSize - 1))
    unsafe hm_prefetch(arena.address(page) + within)
  }

  /// Copies between memory that is likely cold and memory that is likely hot. The first lines of
  /// `cold` are on their way while `memcpy` picks a method and starts its string instruction.
  @inline(__always)
  static func copy(
    to target: UnsafeMutableRawPointer, from source: UnsafeRawPointer, _ length: Int,
    cold: UnsafeRawPointer
  ) {
    unsafe hm_prefetch(cold)
    unsafe memcpy(target, source, length)
  }

  /// Bytes from `offset` to the end of the slot of this level that contains it.
  @inline(__always)
  static func rest(_ offset: UInt64, _ level: Int) -> Int {
    let span = Radix.span(level)
    return Int(span - offset & (span - 1))
  }
}

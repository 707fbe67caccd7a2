import CLinux
import Frames
import Glibc
import GracePeriods
import Paging
import Primitives

/// A sparse range of memory of up to 256 TiB that reads as zeros until it is written, forks in
/// O(1) and copies on write at 4 KiB.
///
/// Untouched memory costs nothing; memory that was only read maps the machine's one zero page.
/// All offsets and lengths are in bytes and may be unaligned.
///
/// - Thread safety: every method may be called on any thread. Reads, and writes to memory that
///   this space alone owns, take no lock. A fork is a point after all writes that have returned.
///   Overlapping reads and writes at the same time see a mixture, as with `pread(2)`.
///
/// Locking: `lock` serialises everything that changes a table; it is never taken within a
/// grace-period section, and grace periods may be waited for under it. `root` with its `W` clear
/// sends every writer to the lock.
public final class AddressSpace: Sendable {
  /// 256 TiB.
  public static let maximalSize: UInt64 = 1 << 48

  /// In bytes.
  public let size: UInt64
  let machine: Machine
  /// (C) Copies of what the machine refers to: a read is a chain of loads that the page has to
  /// wait for, and these make it three loads shorter.
  let arena: Arena
  let grace: GracePeriod
  /// (C) The level of the root table.
  let level: Int
  /// (A), written under the lock: a table entry, or none.
  let root: AtomicWord
  let lock = Lock()
  /// (L) lock: what is mapped where; nil as long as all is one mapping for reading and writing.
  @safe nonisolated(unsafe) var mappings: MappingList?
  /// (L) lock: what it may take and what is kept for it; nil for most.
  @safe nonisolated(unsafe) var limits: Limits?
  /// (L) lock: by which scanners know of this space.
  @safe nonisolated(unsafe) var scanHandle: ScanHandle?
  /// (L) lock: whether tables may come from the reserve, since what is done gives back more.
  @safe nonisolated(unsafe) var givesBack = false
  /// (L) lock: the space this one was forked from, which may be gone.
  @safe nonisolated(unsafe) var originHandle: ScanHandle?
  /// (A), written under the lock: whether there are `mappings`. Holes may then be no memory at all.
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
    // Nobody can be reading: a reader holds the object. So this needs no grace period.
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
  struct Slot {
    /// none, zero, huge or table.
    var entry: Entry
    /// Whether every table above was this space's alone.
    var exclusive: Bool
  }

  /// Walks down to the 2 MiB entry. Only within a section, or under the lock.
  @inline(__always)
  func slot(_ offset: UInt64) -> Slot {
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
  /// table, since a core's frames leave in order; a wrong guess costs two cache lines. In a
  /// large working set entry and page both miss every cache and the TLB, so one wait instead of
  /// two takes a seventh off the whole.
  @inline(__always)
  func prefetch(_ offset: UInt64, behind table: Table) {
    let page = table.frame &+ 1 &+ FrameNumber(truncatingIfNeeded: Radix.index(offset, 1))
    let within = Int(truncatingIfNeeded: offset & UInt64(FrameGeometry.frameSize - 1))
    unsafe hm_prefetch(arena.address(page) + within)
  }

  /// Copies between memory that is likely cold and memory that is likely hot: the first lines of
  /// `cold` are on their way while `memcpy` picks a method and starts its string instruction.
  @inline(__always)
  static func copy(
    to target: UnsafeMutableRawPointer, from source: UnsafeRawPointer, _ length: Int,
    cold: UnsafeRawPointer
  ) {
    unsafe hm_prefetch(cold)
    unsafe memcpy(target, source, length)
  }

  /// Bytes from `offset` to the end of the slot of this level that it lies in.
  @inline(__always)
  static func rest(_ offset: UInt64, _ level: Int) -> Int {
    let span = Radix.span(level)
    return Int(span - offset & (span - 1))
  }
}

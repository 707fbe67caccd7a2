public import Frames
import Glibc
package import HugeMemory
import Synchronization

/// The directory of a memory file: which disks there are, and where their roots lie.
///
/// A server that ends at any instruction leaves each disk whole, as it was before a change or after it:
/// a record is written to an unused slot and published by one store, and only then the old one goes.
/// Several disks can be added by one store too.
///
/// - Thread safety: you may call every method on any thread.
public final class DiskDirectory: Sendable {
  private let mapped: MappedDirectory
  private let state = Mutex(State())
  /// Where the frames lie.
  public let frames: ArenaFile

  private struct State {
    var records = FreeNumbers(count: Layout.recordCount)
    var roots = FreeNumbers(count: Layout.rootCount)
    var lastBatch: UInt64 = 0
    var lastID: UInt64 = 0
    /// There is memory for the slots before this one.
    var obtained = 0
  }

  /// How long a memory file must be to have room for `capacity` bytes of frames.
  public static func length(capacity: UInt64) -> UInt64 {
    // One block more is never used, and the last one may be half.
    // Whole huge pages, for hugetlbfs.
    (UInt64(Layout.frames) + capacity + 4 << 20 + 0x1f_ffff) & ~0x1f_ffff
  }

  /// Where the frames lie in a memory file.
  public static func frames(of file: Int32, canRunOut: Bool = false) -> ArenaFile {
    ArenaFile(descriptor: file, offset: Int64(Layout.frames), canRunOut: canRunOut)
  }

  /// Opens a memory file, and makes a directory in a new one. Throws, and leaves the file as it was, if
  /// it has something else in it, or a directory of another version. The caller keeps others out, and has
  /// made the file as long as `length` says. `canRunOut` is whether there may be no memory for a page of it.
  public init(_ file: Int32, canRunOut: Bool = false) throws(DirectoryError) {
    mapped = try MappedDirectory(file, canRunOut: canRunOut)
    frames = Self.frames(of: file, canRunOut: canRunOut)
  }

  /// Throws what `init` would throw, and changes nothing. A server may be using the file, unless it may
  /// be new.
  public static func check(_ file: Int32, mayBeNew: Bool = false) throws(DirectoryError) {
    guard try !HeaderPage(file).check() || mayBeNew else { throw .noMemory }
  }

  /// A disk that the server before this one left.
  package struct Found: Sendable {
    package let disk: DiskRecord
    /// Where its record is.
    package let slot: Int
  }

  /// The disks in the file, and the number of records that are damaged. Records of which the addition
  /// was not complete are removed. Call this once, first.
  package func recover() -> (disks: [Found], damaged: Int) {
    state.withLock { state in
      var newest: [UInt64: (found: Found, generation: UInt64)] = [:]
      var damaged = 0
      let pending = mapped.pendingBatch
      if pending == nil { damaged += 1 }
      for slot in mapped.touchedSlots where !mapped.isClear(slot) {
        guard mapped.state(slot) != 0 else {
          mapped.clear(slot)
          continue
        }
        guard let read = mapped.read(slot) else {
          damaged += 1
          mapped.clear(slot)
          continue
        }
        state.lastBatch = max(state.lastBatch, read.batch)
        let old = newest[read.disk.id]
        let isOlder = old.map { $0.generation > read.generation } ?? false
        guard read.batch == 0 || read.batch != pending, !isOlder else {
          mapped.clear(slot)
          continue
        }
        if let old { mapped.clear(old.found.slot) }
        newest[read.disk.id] = (Found(disk: read.disk, slot: slot), read.generation)
        state.lastID = max(state.lastID, read.disk.id)
      }
      state.records.keep(Set(newest.values.map(\.found.slot)))
      // What follows may have to replace records, and the file may be full.
      let spare = frames.canRunOut ? 2 * Self.spareRecords : 0
      mapped.giveBack(from: min(state.records.end(with: spare), Layout.recordCount))
      mapped.pendingBatch = 0
      let disks = newest.values.map(\.found).sorted { $0.disk.id < $1.disk.id }
      state.roots.keep(
        Set(disks.flatMap { [$0.disk.root] + ($0.disk.snapshot.map { [$0] } ?? []) }))
      return (disks.map { completed($0, &state) }, damaged)
    }
  }

  /// Completes a reset that the server before this one had begun.
  private func completed(_ found: Found, _ state: inout State) -> Found {
    guard found.disk.isResetting, let snapshot = found.disk.snapshot else { return found }
    mapped.copyRoot(from: snapshot, to: found.disk.root)
    var disk = found.disk
    disk.isResetting = false
    disk.size = disk.originalSize
    return Found(disk: disk, slot: replace(found.slot, with: disk, &state))
  }

  // MARK: Roots

  /// A root that is in the file already.
  package func root(_ number: Int) -> DurableRoot {
    unsafe DurableRoot(mapped.root(number), number: number) { [weak self] in
      self?.state.withLock { $0.roots.give(number) }
    }
  }

  /// Keeps the root of a space in the file from now on, if it is not there yet. Returns its number. It
  /// counts only once a record names it.
  package func keep(_ space: AddressSpace) -> Int {
    if let kept = space.keptRoot { return kept.number }
    let number = state.withLock { $0.roots.take() }
    space.keepRoot(in: root(number))
    return number
  }

  // MARK: Records

  /// Makes the system find memory for the records of so many more disks, before `add`: one call for many
  /// pages costs a tenth of a fault for each. Returns false if the file has run out.
  package func makeRoom(for disks: Int) -> Bool {
    state.withLock { state in
      let spare = frames.canRunOut ? Self.spareRecords : 0
      let end = min(state.records.end(with: disks + spare), Layout.recordCount)
      guard end > state.obtained else { return true }
      let more = state.obtained..<min(end + spare, Layout.recordCount)
      guard mapped.obtain(more) || !frames.canRunOut else { return false }
      state.obtained = more.upperBound
      return true
    }
  }

  /// Where the file can run out, for changes, and for disks that become lasting ones later.
  private static let spareRecords = 1024

  /// A number for a new disk.
  package func newID() -> UInt64 {
    state.withLock { state in
      state.lastID += 1
      return state.lastID
    }
  }

  /// Adds disks: when the server ends in the middle, either all are there or none. Returns the slots of
  /// their records.
  package func add(_ disks: [DiskRecord]) -> [Int] {
    state.withLock { state in
      guard disks.count > 1 else { return disks.map { publish($0, 1, batch: 0, &state) } }
      state.lastBatch += 1
      // From here on records of this batch are not there, until the last store.
      mapped.pendingBatch = state.lastBatch
      let slots = disks.map { publish($0, 1, batch: state.lastBatch, &state) }
      mapped.pendingBatch = 0
      return slots
    }
  }

  /// Replaces the record of a disk. Returns the slot of the new one.
  package func replace(_ slot: Int, with disk: DiskRecord) -> Int {
    state.withLock { replace(slot, with: disk, &$0) }
  }

  private func replace(_ slot: Int, with disk: DiskRecord, _ state: inout State) -> Int {
    let generation = mapped.state(slot) + 1
    let new = publish(disk, generation, batch: 0, &state)
    mapped.clear(slot)
    state.records.give(slot)
    return new
  }

  /// Records that a disk is no fork.
  package func withoutOrigin(_ found: Found) -> Found {
    var disk = found.disk
    (disk.snapshot, disk.origin) = (nil, nil)
    return Found(disk: disk, slot: replace(found.slot, with: disk))
  }

  /// Removes the records of disks. Call this before anything that they name is given back.
  package func remove(_ slots: [Int]) {
    state.withLock { state in
      for slot in slots {
        mapped.clear(slot)
        state.records.give(slot)
      }
    }
  }

  private func publish(
    _ disk: DiskRecord, _ generation: UInt64, batch: UInt64, _ state: inout State
  ) -> Int {
    let slot = state.records.take()
    mapped.publish(disk.encoded, generation: generation, batch: batch, in: slot)
    return slot
  }
}

/// Numbers from 0 on, of which some are in use. The lowest free ones that were used before come first,
/// so that a file is touched as little as possible.
struct FreeNumbers {
  private let count: Int
  private var free: [Int] = []
  /// All numbers from here on are free.
  private var fresh = 0

  init(count: Int) { self.count = count }

  mutating func take() -> Int {
    if let number = free.popLast() { return number }
    precondition(fresh < count, "directory: there are more disks than a server may have")
    defer { fresh += 1 }
    return fresh
  }

  mutating func give(_ number: Int) { free.append(number) }

  /// All numbers are below this if so many more are taken.
  func end(with more: Int) -> Int { fresh + max(0, more - free.count) }

  /// These are in use, and no others.
  mutating func keep(_ used: Set<Int>) {
    fresh = used.max().map { $0 + 1 } ?? 0
    free = (0..<fresh).filter { !used.contains($0) }.reversed()
  }
}

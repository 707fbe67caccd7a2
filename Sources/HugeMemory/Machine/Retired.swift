import Frames
import Paging
import Primitives

/// Something that was unmapped, but that a reader may still hold the translation of.
enum Retired {
  /// The frame of a huge entry, or a frame that nobody owns any more.
  case data(FrameNumber)
  /// The frame of a small entry.
  case small(FrameNumber)
  case table(FrameNumber, level: Int)
  /// References on the zero page. They are given back only in this way, after a grace period
  /// (history items 6 and 7).
  case zero(UInt32)

  var word: UInt64 {
    switch self {
    case .data(let frame): UInt64(frame)
    case .small(let frame): 1 << 62 | UInt64(frame)
    case .table(let frame, let level): UInt64(level) << 32 | UInt64(frame)
    case .zero(let count): 1 << 63 | UInt64(count)
    }
  }

  init(word: UInt64) {
    let low = UInt32(truncatingIfNeeded: word)
    if word >> 63 != 0 {
      self = .zero(low)
    } else if word >> 62 != 0 {
      self = .small(low)
    } else {
      let level = Int(word >> 32)
      self = level == 0 ? .data(low) : .table(low, level: level)
    }
  }
}

/// What waits for a grace period, in a fixed buffer, so that retiring allocates nothing. If a
/// thread fills the buffer, or the buffer holds much memory, that thread drains it.
///
/// Lock order: a space's lock → `draining` → `lock` → the arena's. Draining waits for readers, so
/// no thread may take any of these inside a section.
@safe final class RetiredList: @unchecked Sendable {
  // Sendable: (L) under the lock named at each field.
  static let capacity = 8192
  /// The most frames that may wait: 64 MiB.
  static let maximalFrames = 16384

  /// (L) lock: the buffer being filled, and how many words it holds.
  var filling: UnsafeMutablePointer<UInt64>
  var filled = 0
  /// (L) lock: the number of frames that wait. A table counts as if it were full.
  var frames = 0
  /// (L) draining: the other buffer.
  private var spare: UnsafeMutablePointer<UInt64>
  let lock = SpinLock()
  private let draining = Lock()

  init() {
    unsafe filling = .allocate(capacity: Self.capacity)
    unsafe spare = .allocate(capacity: Self.capacity)
  }
  deinit {
    unsafe filling.deallocate()
    unsafe spare.deallocate()
  }

  func add(_ retired: Retired, frames weight: Int, promising kept: Int, in machine: Machine) {
    while true {
      let added = lock.withLock {
        guard filled < Self.capacity, frames < Self.maximalFrames else { return false }
        unsafe filling[filled] = retired.word
        filled += 1
        frames += weight
        // Under the same lock as the above: a thread that then finds the promise but no frames gets
        // them by a drain.
        machine.arena.changePromise(by: kept)
        return true
      }
      if added { return }
      drain(into: machine)
    }
  }

  /// The number of frames that wait. A table counts as if it were full.
  var waiting: Int { lock.withLock { frames } }

  /// Waits for a grace period, then frees everything retired before the call. Returns whether
  /// there was anything.
  @discardableResult
  func drain(into machine: Machine) -> Bool {
    draining.withLock {
      let count = lock.withLock {
        let full = unsafe filling
        unsafe filling = spare
        unsafe spare = full
        let count = filled
        filled = 0
        frames = 0
        return count
      }
      guard count > 0 else { return false }
      machine.grace.synchronize()
      for index in 0..<count { machine.dispose(Retired(word: unsafe spare[index])) }
      return true
    }
  }
}

extension Machine {
  /// Keeps something until no reader can hold its translation. `frames` is the number of frames
  /// that it may free. `kept` of them are promised again to the space that had them.
  func retire(_ retired: Retired, frames: Int = 1, promising kept: Int = 0) {
    self.retired.add(retired, frames: frames, promising: kept, in: self)
  }

  /// Frees what no reader can reach any more.
  func dispose(_ retired: Retired) {
    switch retired {
    case .data(let frame): arena.release(frame)
    case .small(let frame): releaseSmall(frame)
    case .table(let frame, let level): disposeTable(frame, level: level)
    case .zero(let count): zeroPage.put(count: count)
    }
  }

  private func releaseSmall(_ frame: FrameNumber) {
    if arena.releaseSmall(frame) { events.deferredSplit.count() }
  }

  /// Splits shared huge frames that have parts which nobody maps any more, so that those parts can
  /// be freed. Returns the number of those parts.
  @discardableResult
  func splitDeferred() -> Int {
    var parts = 0
    let split = arena.splitQueued {
      retire(.data($0))
      parts += 1
    }
    events.splitPage.count(split)
    return parts
  }

  /// Drops a reference on a table. The last reference also drops all that the table's entries hold.
  func disposeTable(_ frame: FrameNumber, level: Int) {
    guard arena.drop(frame) else { return }
    let table = Table(frame, in: arena)
    if table.liveEntries > 0 {
      for index in 0..<Table.count {
        let entry = table[index]
        switch entry.kind {
        case .none, .zero: break
        case .small: releaseSmall(entry.frame)
        case .huge: arena.release(entry.frame)
        case .table: disposeTable(entry.frame, level: level - 1)
        }
      }
    }
    let references = zeroReferences(of: table)
    if references > 0 { zeroPage.put(count: references) }
    arena.free(frame)
    events.tableFree.count()
  }

  /// The number of references on the zero page that a table's zero entries need.
  func zeroReferences(of table: Table) -> UInt32 {
    switch zeroReference {
    case .perTable: table.zeroEntries > 0 ? 1 : 0
    case .perMapping: table.zeroEntries
    case .neverFreed: 0
    }
  }
}

import Frames
import Glibc
import Paging
import Primitives

/// Finds all that the roots of a memory file name, and counts it. Each table is looked at once, however
/// many spaces share it.
///
/// Entries that no writer can have stored, and those that disagree with others about a frame, become
/// none: what they named reads as zeros.
@safe final class MarkPass: @unchecked Sendable {
  // Sendable: constant, atomic or under the lock.
  let arena: Arena
  let frames: ArenaRecovery
  private let lock = Lock()
  /// (L) Tables of level 2 and more that are counted but not looked at.
  private var waiting: [(frame: FrameNumber, level: Int)] = []
  /// (L) How many threads look at one now, and may add more.
  private var looking = 0
  /// (A) Entries that became none.
  let damaged = AtomicWord(0)
  /// (A)
  let tables = AtomicWord(0)

  init(_ arena: Arena) {
    self.arena = arena
    frames = ArenaRecovery(arena)
  }

  /// Counts a root. Returns false if it names nothing that can be a table of that level.
  func add(root raw: UInt64, level: Int) -> Bool {
    guard let entry = Entry(recovering: raw) else { return false }
    switch entry.kind {
    case .none: return true
    case .table: return addTable(entry.frame, level: level)
    case .zero, .small, .huge: return false
    }
  }

  private func addTable(_ frame: FrameNumber, level: Int) -> Bool {
    switch frames.mark(frame, as: .table(level: level)) {
    case .refused: return false
    case .again: return true
    case .first:
      if level > 1 { lock.withLock { waiting.append((frame, level)) } } else { look(frame, 1) }
      return true
    }
  }

  /// Looks at tables until there are none left. Several threads may call this at the same time.
  func work() {
    while true {
      let (next, isDone) = lock.withLock {
        let next = waiting.popLast()
        if next != nil { looking += 1 }
        return (next, next == nil && looking == 0)
      }
      if isDone { return }
      guard let next else {
        sched_yield()
        continue
      }
      look(next.frame, next.level)
      lock.withLock { looking -= 1 }
    }
  }

  private func look(_ frame: FrameNumber, _ level: Int) {
    let table = Table(frame, in: arena)
    var refused: UInt64 = 0
    for index in 0..<Table.count {
      let raw = table.word(index)
      // Most of a sparse table is none.
      if raw == 0 { continue }
      guard let entry = Entry(recovering: raw), accepts(entry, level) else {
        table.putBack(index, .none)
        refused += 1
        continue
      }
    }
    tables.add(1, .relaxed)
    if refused > 0 { damaged.add(refused, .relaxed) }
  }

  private func accepts(_ entry: Entry, _ level: Int) -> Bool {
    switch entry.kind {
    case .none, .zero: true
    case .small: level == 1 && frames.mark(entry.frame, as: .data) != .refused
    case .huge: level == 2 && frames.markHuge(entry.frame) != .refused
    case .table: level > 1 && addTable(entry.frame, level: level - 1)
    }
  }

  // MARK: After all marks

  /// Gives the entries of a block's tables what follows from the counts: `W` and `C` where nobody else
  /// refers to what the entry names. All blocks are settled.
  func finish(block: Int) {
    let first = FrameNumber(block << FrameGeometry.hugeOrder)
    for frame in first..<first + FrameNumber(FrameGeometry.framesPerHuge) {
      guard frames.tableLevel(frame) != nil else { continue }
      let table = Table(frame, in: arena)
      var live = 0
      for index in 0..<Table.count {
        let raw = table.word(index)
        if raw == 0 { continue }
        let entry = finished(Entry(recovering: raw) ?? .none)
        if entry != .none { live += 1 }
        if entry.raw != raw { table.putBack(index, entry) }
      }
      table.putBack(live: live)
      frames.finishTable(frame)
    }
  }

  func finished(_ entry: Entry) -> Entry {
    switch entry.kind {
    case .none, .zero: return .none
    case .small: return arena.isSole(entry.frame) ? entry.madeWritable : entry
    case .table: return arena.hasOneReference(entry.frame) ? entry.madeWritable : entry
    case .huge:
      guard arena.isHuge(entry.frame) else {
        damaged.add(1, .relaxed)
        return .none
      }
      let isSole = arena.hasOneReference(entry.frame) && !arena.isMappedSmall(entry.frame)
      return isSole ? entry.madeWritable : entry
    }
  }
}

import Frames
import Glibc
import HugeMemory
import Paging

/// Makes spaces from the tables and pages of a checkpoint. What they shared, they share again.
struct TreeReader: ~Copyable {
  /// A slot of 2 MiB that is read later: a table of level 1 that has no entries yet, or a huge frame that
  /// is not filled yet.
  struct AbsentSlot: Sendable {
    var frame: FrameNumber
    /// Its first page, or only one.
    var page: UInt32
    var isHuge: Bool
  }

  private let reader: PageReader
  private let machine: Machine
  private let arena: Arena
  /// What was read.
  private(set) var frames: PageFrames
  private let progress: (Int) -> Void
  private var done = 0
  /// Whether slots are read later.
  private let isLazy: Bool
  /// The slots to read later, each once, in the order in which the tables name them.
  private(set) var absent: [AbsentSlot] = []

  init(
    _ reader: PageReader, machine: Machine, isLazy: Bool = false,
    progress: @escaping (Int) -> Void
  ) {
    self.reader = reader
    self.machine = machine
    self.isLazy = isLazy
    self.progress = progress
    arena = machine.frames
    frames = PageFrames(pages: reader.pages)
  }

  mutating func space(_ tree: SavedDisk.Tree) throws -> AddressSpace {
    let level = Radix.level(forSize: tree.size)
    let root =
      tree.root == 0
      ? Entry.none : Entry(.table, try table(tree.root, level), writable: false)
    return try machine.adoptSpace(size: tree.size, root: root)
  }

  /// The frame of a table, with a reference of the caller's own.
  private mutating func table(_ page: UInt32, _ level: Int) throws -> FrameNumber {
    try check(page)
    if let known = frames.tables[page] {
      guard known.level == level else {
        throw CheckpointError.damaged("page \(page)", reason: "is a table of two levels")
      }
      arena.retain(known.frame)
      return known.frame
    }
    if isLazy && level == 1 {
      guard let table = Table.make(in: arena) else { throw full }
      frames.tables[page] = (table.frame, level)
      absent.append(AbsentSlot(frame: table.frame, page: page, isHuge: false))
      return table.frame
    }
    var node = InlineArray<512, UInt64>(repeating: 0)
    try unsafe withUnsafeMutableBytes(of: &node) {
      try unsafe reader.read(page, into: $0.baseAddress.unsafelyUnwrapped)
    }
    guard let table = Table.make(in: arena) else { throw full }
    do {
      for index in 0..<Table.count where node[index] != 0 {
        table.set(index, try entry(node[index], level))
      }
    } catch {
      // With it goes what is below it.
      machine.dispose(table: table.frame, level: level)
      throw error
    }
    frames.tables[page] = (table.frame, level)
    return table.frame
  }

  private mutating func entry(_ saved: UInt64, _ level: Int) throws -> Entry {
    switch Node.parts(saved) {
    case (.table, let page)? where level > 1:
      return Entry(.table, try table(page, level - 1), writable: false)
    case (.small, let page)? where level == 1:
      try check(page)
      if frames.smalls[Int(page)] != 0 {
        arena.retainSmall(frames.smalls[Int(page)])
      } else {
        guard let frame = arena.allocateSmall() else { throw full }
        do { try unsafe reader.read(page, into: arena.address(frame)) } catch {
          arena.release(frame)
          throw error
        }
        frames.smalls[Int(page)] = frame
        count(1)
      }
      return Entry(.small, frames.smalls[Int(page)], writable: false)
    case (.huge, let page)? where level == 2: return try huge(page)
    default: throw CheckpointError.damaged("a table", reason: "has an entry that cannot be")
    }
  }

  private mutating func huge(_ page: UInt32) throws -> Entry {
    try check(page)
    if let known = frames.huges[page], arena.retainHuge(known) {
      return Entry(.huge, known, writable: false)
    }
    let count = FrameGeometry.framesPerHuge
    guard UInt64(page) + UInt64(count) <= UInt64(reader.pages) + 1 else {
      throw CheckpointError.damaged("a table", reason: "has an entry that cannot be")
    }
    guard let frame = arena.allocate(order: FrameGeometry.hugeOrder, zeroed: false) else {
      throw full
    }
    if isLazy {
      absent.append(AbsentSlot(frame: frame, page: page, isHuge: true))
    } else {
      do { try unsafe reader.read(page, count: count, into: arena.address(frame)) } catch {
        arena.release(frame)
        throw error
      }
    }
    frames.huges[page] = frame
    self.count(count)
    return Entry(.huge, frame, writable: false)
  }

  private func check(_ page: UInt32) throws(CheckpointError) {
    guard page > 0, page <= reader.pages else {
      throw .damaged("a table", reason: "names page \(page), which is not there")
    }
  }

  private mutating func count(_ pages: Int) {
    done += pages
    if done % 1024 < pages { progress(done) }
  }

  private var full: CheckpointError { .outOfMemory(limit: machine.limit) }
}

import Frames
import Glibc
import HugeMemory
import Paging

/// Makes spaces from the tables and pages of a checkpoint. What they shared, they share again.
struct TreeReader: ~Copyable {
  private let reader: PageReader
  private let machine: Machine
  private let arena: Arena
  /// The frame of each page that was read as one of data; 0 for none yet.
  private var smalls: [FrameNumber]
  /// The frames that were read as a whole, by their first page.
  private var huges: [UInt32: FrameNumber] = [:]
  /// Tables by their page. A page that is a table of two levels is damaged.
  private var tables: [UInt32: (frame: FrameNumber, level: Int)] = [:]
  private let progress: (Int) -> Void
  private var done = 0

  init(_ reader: PageReader, machine: Machine, progress: @escaping (Int) -> Void) {
    self.reader = reader
    self.machine = machine
    self.progress = progress
    arena = machine.frames
    smalls = Array(repeating: 0, count: Int(reader.pages) + 1)
  }

  mutating func space(_ tree: SavedDisk.Tree) throws -> AddressSpace {
    let level = Radix.level(forSize: tree.size)
    let root =
      tree.root == 0
      ? Entry.none : Entry(.table, try table(tree.root, level), writable: false)
    return try machine.adoptSpace(size: tree.size, root: root)
  }

  /// What the frames have that were read, for a checkpoint that goes on from this one.
  var numbers: PageNumbers {
    var numbers = PageNumbers(frames: arena.capacity + 2 * FrameGeometry.framesPerHuge)
    for (page, frame) in smalls.enumerated() where frame != 0 { numbers.set(frame, UInt32(page)) }
    for (page, frame) in huges {
      for part in 0..<FrameGeometry.framesPerHuge {
        numbers.set(frame + FrameNumber(part), page + UInt32(part))
      }
    }
    for (page, table) in tables { numbers.set(table.frame, page) }
    return numbers
  }

  /// The frame of a table, with a reference of the caller's own.
  private mutating func table(_ page: UInt32, _ level: Int) throws -> FrameNumber {
    try check(page)
    if let known = tables[page] {
      guard known.level == level else {
        throw CheckpointError.damaged("page \(page)", reason: "is a table of two levels")
      }
      arena.retain(known.frame)
      return known.frame
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
    tables[page] = (table.frame, level)
    return table.frame
  }

  private mutating func entry(_ saved: UInt64, _ level: Int) throws -> Entry {
    switch Node.parts(saved) {
    case (.table, let page)? where level > 1:
      return Entry(.table, try table(page, level - 1), writable: false)
    case (.small, let page)? where level == 1:
      try check(page)
      if smalls[Int(page)] != 0 {
        arena.retainSmall(smalls[Int(page)])
      } else {
        guard let frame = arena.allocateSmall() else { throw full }
        do { try unsafe reader.read(page, into: arena.address(frame)) } catch {
          arena.release(frame)
          throw error
        }
        smalls[Int(page)] = frame
        count(1)
      }
      return Entry(.small, smalls[Int(page)], writable: false)
    case (.huge, let page)? where level == 2: return try huge(page)
    default: throw CheckpointError.damaged("a table", reason: "has an entry that cannot be")
    }
  }

  private mutating func huge(_ page: UInt32) throws -> Entry {
    try check(page)
    if let known = huges[page], arena.retainHuge(known) {
      return Entry(.huge, known, writable: false)
    }
    let count = FrameGeometry.framesPerHuge
    guard UInt64(page) + UInt64(count) <= UInt64(reader.pages) + 1 else {
      throw CheckpointError.damaged("a table", reason: "has an entry that cannot be")
    }
    guard let frame = arena.allocate(order: FrameGeometry.hugeOrder, zeroed: false) else {
      throw full
    }
    do { try unsafe reader.read(page, count: count, into: arena.address(frame)) } catch {
      arena.release(frame)
      throw error
    }
    huges[page] = frame
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

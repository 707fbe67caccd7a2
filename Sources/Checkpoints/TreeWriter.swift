import Frames
import Glibc
import HugeMemory
import Paging

/// The page number of each frame that a checkpoint has. As long as forks of the spaces that it was made
/// of are alive, a frame holds what it held then: whoever writes copies it first. So the next checkpoint
/// writes only frames that have no number. Costs 4 bytes for each frame of the machine.
struct PageNumbers {
  private var numbers: [UInt32]
  /// How many frames have a number.
  private(set) var count = 0

  init(frames: Int) { numbers = Array(repeating: 0, count: frames) }

  /// 0 if the frame has none.
  subscript(frame: FrameNumber) -> UInt32 { numbers[Int(frame)] }

  mutating func set(_ frame: FrameNumber, _ number: UInt32) {
    numbers[Int(frame)] = number
    count += 1
  }
}

/// Writes the tables and the data of spaces that do not change, each table and frame once, however many
/// of the spaces share it. Tables are written as they are in memory, with page numbers in place of
/// frame numbers.
struct TreeWriter: ~Copyable {
  var segment: SegmentWriter
  /// Those of the last checkpoint, and of this one.
  let old: PageNumbers?
  private(set) var new: PageNumbers
  private let arena: Arena
  /// Called now and then with the number of pages that were written. Throws to stop.
  private let progress: (UInt32) throws -> Void

  init(
    _ segment: consuming SegmentWriter, arena: Arena, after old: PageNumbers?,
    progress: @escaping (UInt32) throws -> Void
  ) {
    self.segment = segment
    self.old = old
    self.arena = arena
    self.progress = progress
    new = PageNumbers(frames: arena.capacity + 2 * FrameGeometry.framesPerHuge)
  }

  mutating func finish() throws -> Manifest.Segment { try segment.finish() }

  /// Writes a space, and returns where its root is.
  mutating func add(_ space: AddressSpace) throws -> SavedDisk.Tree {
    let root = Entry(raw: space.root.load(.acquire))
    return SavedDisk.Tree(
      size: space.size, root: root.kind == .table ? try table(root.frame) : 0)
  }

  /// Writes a table and what is below it. If the last checkpoint has it, only notes that this one has
  /// it too.
  private mutating func table(_ frame: FrameNumber) throws -> UInt32 {
    if new[frame] != 0 { return new[frame] }
    let known = old?[frame] ?? 0
    let table = Table(frame, in: arena)
    var node = InlineArray<512, UInt64>(repeating: 0)
    for index in 0..<Table.count {
      let entry = table[index]
      switch entry.kind {
      case .none, .zero: continue
      case .table: node[index] = Node.entry(.table, try self.table(entry.frame))
      case .small: node[index] = Node.entry(.small, try data(entry.frame, pages: 1))
      case .huge:
        node[index] = Node.entry(
          .huge, try data(entry.frame, pages: FrameGeometry.framesPerHuge))
      }
    }
    var number = known
    if known == 0 {
      number = try unsafe withUnsafeBytes(of: node) {
        try unsafe page($0.baseAddress.unsafelyUnwrapped)
      }
    }
    new.set(frame, number)
    return number
  }

  /// Writes a frame, of one page or of many that get numbers in order.
  private mutating func data(_ frame: FrameNumber, pages: Int) throws -> UInt32 {
    if new[frame] != 0 { return new[frame] }
    var first = old?[frame] ?? 0
    if first == 0 {
      for part in 0..<pages {
        let number = try unsafe page(UnsafeRawPointer(arena.address(frame + FrameNumber(part))))
        if part == 0 { first = number }
      }
    }
    for part in 0..<pages { new.set(frame + FrameNumber(part), first + UInt32(part)) }
    return first
  }

  private mutating func page(_ address: UnsafeRawPointer) throws -> UInt32 {
    let number = try unsafe segment.add(address)
    if segment.pages % 1024 == 0 { try progress(segment.pages) }
    return number
  }
}

/// An entry of a table in a checkpoint: the kind in the low bits, as in memory, and a page number from bit
/// 12 on.
enum Node {
  static func entry(_ kind: Entry.Kind, _ page: UInt32) -> UInt64 {
    kind.rawValue | UInt64(page) << 12
  }

  /// Nil if it is none of those.
  static func parts(_ entry: UInt64) -> (kind: Entry.Kind, page: UInt32)? {
    guard let kind = Entry.Kind(rawValue: entry & 0xfff), kind != .zero, entry >> 44 == 0 else {
      return nil
    }
    return (kind, UInt32(truncatingIfNeeded: entry >> 12))
  }
}

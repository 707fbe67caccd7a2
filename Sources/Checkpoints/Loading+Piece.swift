import Frames
import HugeMemory
import Paging

// Loading one piece, by the thread that has claimed it. Several pieces may name the same pages. A page is
// read by one thread; the others wait for it, but only when they have nothing left to read themselves, so
// no two threads wait for each other.
extension Loading {
  /// Brings the contents of a piece. If it throws, the piece stays absent. It may have entries by then,
  /// which the next attempt keeps.
  func load(_ slot: TreeReader.AbsentSlot) throws(CheckpointError) {
    guard let reader = lock.withLock({ self.reader }) else { return }
    guard !slot.isHuge else {
      return try unsafe reader.read(
        slot.page, count: FrameGeometry.framesPerHuge, into: arena.address(slot.frame))
    }
    let table = Table(slot.frame, in: arena)
    var wanted = try entries(of: slot.page, reader)
    wanted.removeAll { table[$0.index].kind != .none }
    while !wanted.isEmpty {
      let mine = take(&wanted, table)
      if mine.isEmpty {
        // Others read all that is left, if anything is.
        lock.withLock {
          if !wanted.isEmpty, wanted.allSatisfy({ reading.contains($0.page) }) { lock.wait() }
        }
        continue
      }
      do throws(CheckpointError) { try read(mine, to: table, reader) } catch {
        lock.withLock {
          for entry in mine { reading.remove(entry.page) }
          lock.wakeAll()
        }
        throw error
      }
    }
  }

  /// An entry of a table of level 1.
  struct PageEntry {
    var index: Int
    var page: UInt32
  }

  /// Reads a table of level 1, and checks its entries.
  private func entries(
    of page: UInt32, _ reader: PageReader
  ) throws(CheckpointError) -> [PageEntry] {
    var node = InlineArray<512, UInt64>(repeating: 0)
    try unsafe withUnsafeMutableBytes(of: &node) { (bytes) throws(CheckpointError) in
      try unsafe reader.read(page, into: bytes.baseAddress.unsafelyUnwrapped)
    }
    var entries: [PageEntry] = []
    for index in 0..<Table.count where node[index] != 0 {
      guard case (.small, let page)? = Node.parts(node[index]), page > 0, page <= reader.pages
      else { throw .damaged("a table", reason: "page \(page) has an entry that cannot be") }
      entries.append(PageEntry(index: index, page: page))
    }
    return entries
  }

  /// Maps the pages that are there, and takes those to read that nobody reads. What others read stays
  /// wanted.
  private func take(_ wanted: inout [PageEntry], _ table: Table) -> [PageEntry] {
    lock.withLock {
      var mine: [PageEntry] = []
      wanted.removeAll { entry in
        let frame = frames.smalls[Int(entry.page)]
        if frame != 0 {
          arena.retainSmall(frame)
          table.set(entry.index, Entry(.small, frame, writable: false))
          return true
        }
        guard reading.insert(entry.page).inserted else { return false }
        mine.append(entry)
        return true
      }
      return mine
    }
  }

  /// Reads pages and maps them. If it throws, it has mapped none.
  private func read(
    _ entries: [PageEntry], to table: Table, _ reader: PageReader
  ) throws(CheckpointError) {
    var taken: [FrameNumber] = []
    do throws(CheckpointError) {
      for _ in entries { taken.append(try frame()) }
      // Pages that follow each other are read together.
      var start = 0
      while start < entries.count {
        var end = start + 1
        while end < entries.count, entries[end].page == entries[end - 1].page + 1 { end += 1 }
        let targets = unsafe taken[start..<end].map { unsafe arena.address($0) }
        try unsafe reader.read(entries[start].page, into: targets)
        start = end
      }
    } catch {
      for frame in taken { arena.release(frame) }
      throw error
    }
    lock.withLock {
      for (entry, frame) in zip(entries, taken) {
        frames.smalls[Int(entry.page)] = frame
        table.set(entry.index, Entry(.small, frame, writable: false))
        reading.remove(entry.page)
      }
      lock.wakeAll()
    }
  }

  /// A frame, for which memory is reclaimed if need be.
  private func frame() throws(CheckpointError) -> FrameNumber {
    for _ in 0..<4 {
      if let frame = arena.allocateSmall() { return frame }
      guard machine.reclaimDirectly() else { break }
    }
    throw .outOfMemory(limit: machine.limit)
  }
}

/// Plain memory: cells of one word, with race detection by vector clocks (FastTrack, Flanagan and
/// Freund 2009). Two accesses race if one of them writes and neither happened before the other.
/// This shows in whichever order they are executed, so plain accesses are no scheduling points.
///
/// A frame of a heap is a cell that can be allocated and freed. Allocation and free are writes. An
/// allocation is ordered after the free that returned the frame, and after nothing else: if the
/// checker's allocator synchronised more, it would hide missing orderings.
struct PlainMemory {
  struct Cell {
    var value: UInt64 = 0
    var isLive: Bool
    /// The last write: the thread, and its clock.
    var writer = 0
    var written = 0
    /// For each thread, the clock of its last read since then.
    var readers = View()
    /// The view at the last free, which the next allocation joins.
    var freed = View()
    /// Whether it survives a crash, and what it may hold then instead of `value`:
    /// the values before the last writes, unless a release by the writer came after them.
    var survives = false
    var older: [UInt64] = []
    /// The cell's name, for messages.
    let name: String
    var writeSite: Access?
    var readSites: [Access?] = []
  }

  /// What a crash leaves of a cell.
  struct Contents {
    var value: UInt64
    var writer: Int
    var written: Int
    var older: [UInt64]

    var hash: UInt64 {
      older.isEmpty ? mix(value, 0) : older.reduce(mix(value, UInt64(writer)), mix)
    }
  }

  struct Access {
    let what: String
    let site: Site
  }

  /// Consecutive cells that are the frames 1, 2, …
  struct Heap {
    let first: Int
    let capacity: Int
    let survives: Bool
  }

  enum Problem: Error {
    /// The two sides of a race.
    case race(cell: Int, with: Int, before: Access?)
    case notLive(cell: Int, freed: Access?)
  }

  private(set) var cells: [Cell] = []
  private(set) var heaps: [Heap] = []
  /// Whether to keep the sites of accesses: only while a failure is traced.
  let recordsSites: Bool

  init(recordsSites: Bool) { self.recordsSites = recordsSites }

  mutating func reset() {
    cells.removeAll(keepingCapacity: true)
    heaps.removeAll(keepingCapacity: true)
  }

  mutating func addCell(_ value: UInt64, name: String, survives: Bool) -> Int {
    cells.append(Cell(value: value, isLive: true, survives: survives, name: name))
    return cells.count - 1
  }

  mutating func addHeap(capacity: Int, name: String, survives: Bool) -> Int {
    heaps.append(Heap(first: cells.count, capacity: capacity, survives: survives))
    for frame in 1...capacity {
      cells.append(Cell(isLive: false, survives: survives, name: "\(name) \(frame)"))
    }
    return heaps.count - 1
  }

  mutating func read(
    _ cell: Int, by thread: Int, _ view: inout View, _ site: Site
  ) throws(Problem) -> UInt64 {
    try check(cell, by: thread, view, isWrite: false)
    view[clock: thread] += 1
    cells[cell].readers[clock: thread] = view[clock: thread]
    if recordsSites {
      if cells[cell].readSites.isEmpty {
        cells[cell].readSites = Array(repeating: nil, count: View.threads)
      }
      cells[cell].readSites[thread] = Access(what: "read", site: site)
    }
    return cells[cell].value
  }

  mutating func write(
    _ cell: Int, _ value: UInt64, by thread: Int, _ view: inout View, _ site: Site,
    as what: String = "write"
  ) throws(Problem) {
    try check(cell, by: thread, view, isWrite: true)
    view[clock: thread] += 1
    cells[cell].value = value
    cells[cell].writer = thread
    cells[cell].written = view[clock: thread]
    cells[cell].readers = View()
    if recordsSites { cells[cell].writeSite = Access(what: what, site: site) }
  }

  /// Allocates the lowest free frame. So an address comes back as early as possible, which finds
  /// ABA bugs.
  mutating func allocate(
    _ heap: Int, by thread: Int, _ view: inout View, _ site: Site
  ) throws(Problem) -> Int? {
    guard let cell = lowestFree(heap) else { return nil }
    view.join(cells[cell].freed)
    cells[cell].isLive = true
    try write(cell, 0, by: thread, &view, site, as: "allocation")
    return cell - heaps[heap].first + 1
  }

  func lowestFree(_ heap: Int) -> Int? {
    let heap = heaps[heap]
    return (heap.first..<heap.first + heap.capacity).first { !cells[$0].isLive }
  }

  mutating func free(
    _ cell: Int, by thread: Int, _ view: inout View, _ site: Site
  ) throws(Problem) {
    try write(cell, cells[cell].value, by: thread, &view, site, as: "free")
    cells[cell].isLive = false
    cells[cell].freed = view
  }

  // MARK: Crashes

  /// Whether the last write to a cell is in memory if all threads stop now.
  func isSettled(_ cell: Int, _ threads: [Memory.Thread]) -> Bool {
    cells[cell].writer == 0 || cells[cell].written <= threads[cells[cell].writer].released
  }

  /// Keeps the value that a cell may still hold if all threads stop after its next write.
  mutating func keepOlder(_ cell: Int, _ threads: [Memory.Thread]) {
    if isSettled(cell, threads) { cells[cell].older.removeAll() }
    cells[cell].older.append(cells[cell].value)
  }

  /// What a crash leaves of the cell now.
  func contents(_ cell: Int, _ threads: [Memory.Thread]) -> Contents {
    let now = cells[cell]
    return Contents(
      value: now.value, writer: now.writer, written: now.written,
      older: isSettled(cell, threads) ? [] : now.older)
  }

  /// Gives a cell other contents, and returns its own in them.
  mutating func exchange(_ cell: Int, _ contents: inout Contents) {
    swap(&cells[cell].value, &contents.value)
    swap(&cells[cell].writer, &contents.writer)
    swap(&cells[cell].written, &contents.written)
    swap(&cells[cell].older, &contents.older)
  }

  /// The values that a surviving cell may hold if all threads stop now, the newest first.
  func values(_ cell: Int, _ threads: [Memory.Thread]) -> [UInt64] {
    isSettled(cell, threads)
      ? [cells[cell].value] : [cells[cell].value] + cells[cell].older.reversed()
  }

  /// Makes the cell one that the next process finds in surviving memory. Which frames are allocated
  /// is not in that memory, so none is until it is claimed.
  mutating func leave(_ cell: Int, holding value: UInt64, isFrame: Bool) {
    cells[cell] = Cell(
      value: value, isLive: !isFrame, survives: true, name: cells[cell].name)
  }

  /// Makes a frame allocated as it is. Returns false if it is allocated already.
  mutating func claim(_ cell: Int) -> Bool {
    defer { cells[cell].isLive = true }
    return !cells[cell].isLive
  }

  private func check(
    _ cell: Int, by thread: Int, _ view: View, isWrite: Bool
  ) throws(Problem) {
    let writer = cells[cell].writer
    if cells[cell].written > view[clock: writer] && writer != thread {
      throw .race(cell: cell, with: writer, before: cells[cell].writeSite)
    }
    guard cells[cell].isLive else { throw .notLive(cell: cell, freed: cells[cell].writeSite) }
    if isWrite, let reader = cells[cell].readers.threadAhead(of: view), reader != thread {
      let sites = cells[cell].readSites
      throw .race(cell: cell, with: reader, before: sites.isEmpty ? nil : sites[reader])
    }
  }
}

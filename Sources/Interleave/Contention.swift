/// Which locations threads contend for. An access to any other, a quiet one, is no scheduling
/// point: it is fused with the thread's step before it.
///
/// ```
///   apart ──▶ ordered ──▶ contended
/// ```
///
/// A location starts out as one that threads use apart: one thread has it to itself, or nobody
/// writes it. When two share it, its accesses are watched as those of plain memory are; as long as
/// no two of them would race it is ordered, as a frame is that goes from owner to owner. When two
/// would, it is contended. Of a heap every operation is a write; the set-up and the final checks do
/// not count. Nobody knows the classes before the exploration. When an execution shows that one
/// was too good, it says nothing, and the exploration begins again: a fixpoint, after as many
/// turns as there are locations, twice, at the most.
///
/// Why nothing is lost: suppose that an execution has a race on a quiet location, and take the
/// shortest beginning of one that does. No two accesses of quiet locations before its last race.
/// So what each of them comes after was known to its thread since its step before, and between
/// the two nobody else touches the location: it commutes with what is between, and can be
/// moved to just behind that step. What results is explored, and performs that last access. So at
/// the fixpoint no execution has such a race, and by the same move every one is equivalent to one
/// that was explored. The move never adds a preemption.
///
/// An access of a quiet location reads the one store that it may, and learns nothing: all that
/// the store's message says happened before. Sequential ones are no exception. In `Memory` a
/// sequential access of location x reads and raises lane x of the order of sequential operations,
/// and lane x matters to accesses of x only.
struct Contention {
  struct Accesses {
    /// The last write: by whom, at which clock.
    var writer = 0
    var written = 0
    /// Reads since then, by clock.
    var readers = View()
  }

  /// A bit a location: words, then heaps.
  private(set) var contended: UInt64
  private(set) var ordered: UInt64 = 0
  /// The threads that read and wrote each location, in all executions so far.
  private var readers = [ThreadSet](repeating: ThreadSet(), count: 64)
  private var writers = [ThreadSet](repeating: ThreadSet(), count: 64)
  /// Of ordered locations, in this execution.
  private(set) var accesses = [Accesses](repeating: Accesses(), count: 64)
  /// Those that have any.
  private(set) var accessed: UInt64 = 0

  /// Without the reduction every location counts as contended.
  init(isUsed: Bool) { contended = isUsed ? 0 : ~0 }

  mutating func reset() {
    for index in 0..<64 where accessed >> UInt64(index) & 1 != 0 { accesses[index] = Accesses() }
    accessed = 0
  }

  /// None for steps that are scheduling points whatever others do, and for a ninth heap.
  private static func index(_ operation: Operation) -> Int? {
    switch operation.kind {
    case .load, .store, .modify, .compareExchange, .lock: return operation.object
    case .heap:
      let index = View.locations + operation.object
      return index < 64 ? index : nil
    case .start, .fence, .processFence, .pause: return nil
    }
  }

  enum Access { case visible, quiet, outdated }

  /// Notes an access that `thread` is about to make. `outdated`: the location is of a worse class
  /// than it was until now.
  mutating func note(_ operation: Operation, by thread: Int, _ view: inout View) -> Access {
    guard let index = Self.index(operation) else { return .visible }
    let bit: UInt64 = 1 << UInt64(index)
    if contended & bit != 0 { return .visible }
    let isWrite = operation.isWrite || operation.kind == .heap
    if ordered & bit == 0 {
      if isWrite { writers[index].insert(thread) } else { readers[index].insert(thread) }
      let writers = writers[index]
      if writers.isEmpty { return .quiet }
      var others = writers.union(readers[index])
      others.remove(writers.first)
      if others.isEmpty { return .quiet }
      // To take a lock is the event that orders.
      if operation.kind == .lock { contended |= bit } else { ordered |= bit }
      return .outdated
    }
    let last = accesses[index]
    let isRace =
      last.written > view[clock: last.writer] && last.writer != thread
      || isWrite && last.readers.threadAhead(of: view) != nil
    if isRace {
      contended |= bit
      return .outdated
    }
    view[clock: thread] += 1
    if isWrite {
      accesses[index] = Accesses(writer: thread, written: view[clock: thread])
    } else {
      accesses[index].readers[clock: thread] = view[clock: thread]
    }
    accessed |= bit
    return .quiet
  }

  /// A thread waits for news of the word. True if it was taken for quiet.
  mutating func noteNews(word: Int) -> Bool {
    guard isQuiet(word: word) else { return false }
    contended |= 1 << UInt64(word)
    return true
  }

  @inline(__always) func isQuiet(word: Int) -> Bool { contended >> UInt64(word) & 1 == 0 }
}

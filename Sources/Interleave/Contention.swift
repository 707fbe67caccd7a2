/// Knows which locations threads contend for. All other locations are quiet. An access to a quiet
/// location is no scheduling point: it is fused with the thread's previous step.
///
/// ```
///   apart ──▶ ordered ──▶ contended
/// ```
///
/// - *Apart*: only one thread uses the location, or nobody writes it. Every location starts here.
/// - *Ordered*: several threads share it, but no two of their accesses would race. An example is a
///   frame that passes from owner to owner. The accesses are watched like those of plain memory.
/// - *Contended*: two accesses would race.
///
/// Every operation on a heap counts as a write. The set-up and the final checks do not count. The
/// classes are not known before the exploration. When an execution shows that a location is in too
/// good a class, the execution is discarded and the exploration begins again with a worse class.
/// This reaches a fixpoint after at most two restarts for each location.
///
/// Why nothing is lost: suppose that an execution has a race on a quiet location. Take the shortest
/// prefix of an execution that has one. No two accesses to quiet locations race before the last
/// access of this prefix. So for each earlier quiet access, its thread already knew at its previous
/// step everything that the access has to follow, and between that step and the access nobody else
/// touches the location. The access commutes with everything in between, so it can be moved to
/// right after that step. The resulting execution is explored, and it performs the last access. So
/// at the fixpoint no execution has such a race, and by the same move every execution is equivalent
/// to an explored one. The move never adds a preemption.
///
/// An access to a quiet location can read only one store and learns nothing from it: everything in
/// the store's message happened before already. Sequential accesses are no exception. In `Memory`,
/// a sequential access to location x reads and raises lane x of the order of sequential operations,
/// and lane x matters only to accesses to x.
struct Contention {
  struct Accesses {
    /// The last write: the thread, and its clock.
    var writer = 0
    var written = 0
    /// For each thread, the clock of its last read since then.
    var readers = View()
  }

  /// The heaps that can be quiet.
  private static let heaps = 8
  /// The most words beside so many heaps.
  static func words(besides count: Int) -> Int { 64 - min(count, heaps) }

  /// One bit for each location: the words from below, the heaps from above.
  private(set) var contended: UInt64
  /// Whether the reduction is on. If not, every location counts as contended.
  let isUsed: Bool
  private(set) var ordered: UInt64 = 0
  /// The threads that read and wrote each location, in all executions so far.
  private var readers = [ThreadSet](repeating: ThreadSet(), count: 64)
  private var writers = [ThreadSet](repeating: ThreadSet(), count: 64)
  /// The accesses to ordered locations in this execution.
  private(set) var accesses = [Accesses](repeating: Accesses(), count: 64)
  /// The locations that have an entry in `accesses`.
  private(set) var accessed: UInt64 = 0

  init(isUsed: Bool) {
    self.isUsed = isUsed
    contended = isUsed ? 0 : ~0
  }

  mutating func reset() {
    for index in 0..<64 where accessed >> UInt64(index) & 1 != 0 { accesses[index] = Accesses() }
    accessed = 0
  }

  /// The location's index. Nil for steps that are always scheduling points, and for a ninth heap.
  private static func index(_ operation: Operation) -> Int? {
    switch operation.kind {
    case .load, .store, .modify, .compareExchange, .lock, .tryLock, .unlock:
      return operation.object
    case .heap:
      return operation.object < heaps ? 63 - operation.object : nil
    case .start, .fence, .processFence, .pause, .cell: return nil
    }
  }

  enum Access { case visible, quiet, outdated }

  /// Notes an access that `thread` is about to make. Returns `outdated` if this moves the location
  /// to a worse class.
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
      // Taking a lock is what orders other accesses, so the lock itself is contended.
      switch operation.kind {
      case .lock, .tryLock, .unlock: contended |= bit
      default: ordered |= bit
      }
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

  /// Makes every access to the word a scheduling point: a thread waits for its news, or a step on
  /// it may return one of several values even if nobody contends. Returns true if the word was
  /// quiet until now.
  mutating func makeVisible(word: Int) -> Bool {
    guard isQuiet(word: word) else { return false }
    contended |= 1 << UInt64(word)
    return true
  }

  @inline(__always) func isQuiet(word: Int) -> Bool { contended >> UInt64(word) & 1 == 0 }
}

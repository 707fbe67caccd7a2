/// Which locations threads contend for. An access to any other, a quiet one, is no scheduling
/// point: it is fused with the thread's step before it.
///
/// A location is contended when two threads have accessed it, one of them by a write, with no lock
/// that is held at all its accesses; of a heap every operation is a write. The set-up and the
/// final checks do not count. Nobody knows this set before the exploration, so it begins empty,
/// and when an execution shows that it was too small the exploration begins again: a fixpoint,
/// after as many turns as there are locations at the most.
///
/// Why nothing is lost: suppose that an execution has a conflict on a location outside of the
/// set, and take the shortest beginning of one that does. Before its last access none outside of
/// the set conflicts, or the two are apart since they need the same lock. So each commutes with
/// the steps that other threads take after its own thread's step before, and can be moved to just
/// behind that. What results is explored, and performs that last access. So at the fixpoint no
/// execution has such a conflict, and by the same move every one is equivalent to one that was
/// explored. The move never adds a preemption.
///
/// An access that nothing conflicts with reads the one store that it may, and learns nothing: all
/// that the store's message says happened before. Sequential ones are no exception. In `Memory`
/// a sequential access of location x reads and raises lane x of the order of sequential
/// operations, and lane x matters to accesses of x only.
struct Contention {
  /// A bit a location: words, then heaps.
  private(set) var contended: UInt64
  /// The threads that read and wrote each location, in all executions so far, and the locks that
  /// they held each time.
  private var readers = [ThreadSet](repeating: ThreadSet(), count: 64)
  private var writers = [ThreadSet](repeating: ThreadSet(), count: 64)
  private var locks = [UInt64](repeating: ~0, count: 64)

  /// Without the reduction every location counts as contended.
  init(isUsed: Bool) { contended = isUsed ? 0 : ~0 }

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

  enum Access { case visible, quiet, conflict }

  /// Notes an access that `thread` is about to make with the locks `held`. `conflict`: until now
  /// the location was taken for a quiet one.
  mutating func note(_ operation: Operation, by thread: Int, holding held: UInt64) -> Access {
    guard let index = Self.index(operation) else { return .visible }
    if contended >> UInt64(index) & 1 != 0 { return .visible }
    if operation.isWrite || operation.kind == .heap {
      writers[index].insert(thread)
    } else {
      readers[index].insert(thread)
    }
    locks[index] &= operation.kind == .lock ? 0 : held
    let writers = writers[index]
    if writers.isEmpty || locks[index] != 0 { return .quiet }
    var others = writers.union(readers[index])
    others.remove(writers.first)
    if others.isEmpty { return .quiet }
    contended |= 1 << UInt64(index)
    return .conflict
  }

  /// A thread waits for news of the word, outside of the lock. True if it was taken for quiet.
  mutating func noteNews(word: Int) -> Bool {
    guard isQuiet(word: word) else { return false }
    contended |= 1 << UInt64(word)
    return true
  }

  @inline(__always) func isQuiet(word: Int) -> Bool { contended >> UInt64(word) & 1 == 0 }
}

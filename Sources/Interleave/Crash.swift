// What a scenario says about crashes. `Explorer+Crash` explores them.
//
// The model is a process that is killed (SIGKILL, a trap) while its memory lies in a file in memory
// that the next process maps again. The machine goes on: this is no power failure, and caches and
// store buffers lose nothing.
//
// - Every thread stops for ever between two instructions, each at any point.
// - An atomic store that was executed is there, one that was not is not. All cores agree on the
//   order of the stores to a location, so the next process finds the last one in that order.
// - A write to plain memory is there if its thread has executed a release since: a store, a
//   read-modify-write or a fence with release, or the end of a lock. A later write may be there or
//   not, each on its own, since a compiler may move it until the next release.
// - What did not survive is not there: locks, counts, caches, lists, and which frames of a heap are
//   allocated.
//
// So what a program publishes with less than a release may be found half filled.

extension Scenario {
  /// Also explores crashes. At every step of every execution all threads stop for ever, and
  /// `recover` runs on the memory that is left, as the next process does. Then `check` checks what
  /// it has recovered, and may use it.
  ///
  /// ```swift
  /// let report = Checker().run { scenario in
  ///   let root = surviving { ModelWord(0) }, record = surviving { ModelCell(0) }
  ///   scenario.thread("writer") { record.store(7); root.store(1, .release) }
  ///   scenario.afterCrash { if root.load(.acquire) == 1 { check(record.load() == 7) } }
  /// }
  /// ```
  ///
  /// A `complete` report means that no reachable contents of the surviving memory fail. Each is
  /// recovered from once (`Report.crashes`). The executions that do not crash are explored too,
  /// with `finally`.
  ///
  /// The next process may be killed as well: at each store of `recover` to surviving memory. Then
  /// `recover` runs again, on what is left by then. The stores of `check` are not taken for that.
  ///
  /// Both closures run alone, and every load returns the newest value. They may make words, cells,
  /// heaps and locks of their own, and use what survives. Anything else is a failure of kind
  /// `lostMemory`. Variables outside of the model are the scenario's mistake, if threads change
  /// them: what a client was told must be in surviving memory too, or two crashes that differ only
  /// in that are taken for one.
  ///
  /// A scenario can have at most 6 threads then. `surviving` must have made something.
  public func afterCrash<Recovered>(
    _ recover: @escaping () -> Recovered, check: @escaping (Recovered) -> Void = { _ in }
  ) {
    precondition(!explorer.isSealed, "Interleave: the set-up says what follows a crash")
    guard explorer.crash.recover == nil else {
      return explorer.fail(.misuse, "a scenario has one afterCrash, and this one has two")
    }
    explorer.crash.recover = {
      let recovered = recover()
      Explorer.current.endRecovery()
      check(recovered)
    }
  }
}

/// Makes the words, cells and heaps that `make` creates survive a crash (`Scenario.afterCrash`).
/// Call this in the set-up of a scenario. It changes nothing if the scenario has no `afterCrash`.
///
/// Of a heap the contents survive, and not which frames are allocated. Recovery claims those that
/// it finds in use (`ModelHeap.claim`). A lock cannot survive, since nobody would give it back. Nor
/// can a `PlainArray` of `InterleaveSynchronization`, whose elements are outside of the model.
public func surviving<Result: ~Copyable, Failure: Error>(
  _ make: () throws(Failure) -> Result
) throws(Failure) -> Result {
  let explorer = Explorer.current
  if explorer.crash.isRecovering {
    explorer.fail(.misuse, "recovery makes surviving memory: the set-up makes all of it")
  }
  precondition(!explorer.isSealed, "Interleave: surviving memory is made by the set-up")
  let outer = explorer.crash.isMarking
  explorer.crash.isMarking = true
  defer { explorer.crash.isMarking = outer }
  return try make()
}

extension ModelHeap {
  /// Makes a frame allocated that recovery found in use. Its contents stay. Returns false if it was
  /// allocated already. For `Scenario.afterCrash`: a crash forgets which frames are allocated.
  public func claim(
    _ frame: UInt32, file: StaticString = #fileID, line: UInt = #line
  ) -> Bool {
    Explorer.current.claim(index, Int(frame), Site(file: file, line: line))
  }
}

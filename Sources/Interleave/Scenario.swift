/// One execution under construction: its threads, and what must hold at its end.
///
/// The closure given to `Checker.run` creates the words, cells and heaps, which happen before
/// everything, and then names the threads. It is called for every execution, so whatever it
/// shares between executions, or threads share outside of the model, makes the result void; where
/// that shows, the verdict is a failure of kind `nondeterminism`.
///
/// Threads are fibres on one OS thread. They may not block, nor hold an exclusive access to the
/// same variable across an atomic operation (the runtime would take two fibres for one thread).
public struct Scenario {
  let explorer: Explorer
  init(_ explorer: Explorer) { self.explorer = explorer }

  /// A thread, at most 7 in a scenario. It starts after the set-up.
  public func thread(_ name: String, _ body: @escaping () -> Void) {
    precondition(!explorer.isSealed, "Interleave: threads are named by the set-up")
    precondition(
      explorer.threads.count < View.threads, "Interleave: more than \(View.threads - 1) threads")
    let number = UInt64(explorer.threads.count)
    explorer.threads.append(Explorer.Thread(name: name, body: body, history: number))
  }

  /// What must hold when all threads have ended. Everything they did happened before.
  public func finally(_ check: @escaping () -> Void) { explorer.finalChecks.append(check) }
}

/// Fails the execution, and with it the exploration, if `condition` does not hold.
public func check(
  _ condition: Bool, _ message: @autoclosure () -> String = "check failed",
  file: StaticString = #fileID, line: UInt = #line
) {
  guard !condition else { return }
  let site = Site(file: file, line: line)
  Explorer.current.fail(.check, "\(message()), at \(site.description)")
}

/// Ends a turn of a spin loop. The thread goes on when another turn can differ: when something
/// that it read since the last `pause` has a newer store, of which it then sees at least one.
/// If all threads that are left wait so, that is a livelock; a fair scheduler cannot help.
///
/// Turns that end here must have no effect that another turn repeats, as in
/// `while word.load(.acquire) == 0 { pause() }`.
public func pause(file: StaticString = #fileID, line: UInt = #line) {
  Explorer.current.pause(Site(file: file, line: line))
}

/// A full fence on every thread of the scenario, each at some point during the call: what
/// `membarrier(2)` does in its expedited form.
public func processFence(file: StaticString = #fileID, line: UInt = #line) {
  Explorer.current.processFence(Site(file: file, line: line))
}

/// The running thread promises that from here on it uses nothing it has read so far: where it is
/// in its code, `position`, says all. Executions that differ only in that past are then explored
/// once. For the end of a round, or of a thread whose results nobody looks at.
///
/// A promise that is not kept can hide executions; that it was broken shows, as a rule, as
/// `nondeterminism`.
public func forget(_ position: Int) { Explorer.current.forget(position) }

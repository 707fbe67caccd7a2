/// An execution under construction: its threads, and what must hold at its end.
///
/// The closure that you give to `Checker.run` creates the words, cells and heaps, which happens
/// before everything else, and then the threads. It is called for every execution. The result is
/// void if executions share state, or if threads share state outside of the model. If the checker
/// notices, the verdict is a failure of kind `nondeterminism`.
///
/// Threads are fibres on one OS thread. They must not block. Two of them must not hold exclusive
/// accesses to the same variable across an atomic operation, because the runtime takes two fibres
/// for one thread.
public struct Scenario {
  let explorer: Explorer
  init(_ explorer: Explorer) { self.explorer = explorer }

  /// Adds a thread, which starts after the set-up. A scenario can have at most 7.
  public func thread(_ name: String, _ body: @escaping () -> Void) {
    precondition(!explorer.isSealed, "Interleave: threads are named by the set-up")
    precondition(
      explorer.threads.count < View.threads, "Interleave: more than \(View.threads - 1) threads")
    let number = UInt64(explorer.threads.count)
    explorer.threads.append(Explorer.Thread(name: name, body: body, history: number))
  }

  /// Adds a check that runs when all threads have ended. Everything they did happened before it.
  public func finally(_ check: @escaping () -> Void) { explorer.finalChecks.append(check) }
}

/// Fails the execution, and so the exploration, if `condition` does not hold.
public func check(
  _ condition: Bool, _ message: @autoclosure () -> String = "check failed",
  file: StaticString = #fileID, line: UInt = #line
) {
  guard !condition else { return }
  let site = Site(file: file, line: line)
  Explorer.current.fail(.check, "\(message()), at \(site.description)")
}

/// Ends a turn of a spin loop. The thread goes on when another turn can go differently: when a
/// location that it read since the last `pause` has a newer store. It then sees at least one newer
/// store. If all remaining threads wait like this, that is a livelock, which no scheduler can
/// resolve.
///
/// A turn that ends here must have no effect that another turn would repeat. An example is
/// `while word.load(.acquire) == 0 { pause() }`.
public func pause(file: StaticString = #fileID, line: UInt = #line) {
  Explorer.current.pause(Site(file: file, line: line))
}

/// Runs a full fence on every thread of the scenario, each at some point during the call. This is
/// what an expedited `membarrier(2)` does.
public func processFence(file: StaticString = #fileID, line: UInt = #line) {
  Explorer.current.processFence(Site(file: file, line: line))
}

/// Promises that from here on the running thread uses nothing that it has read so far: `position`,
/// its place in the code, is all of its state. Executions that differ only in that past are then
/// explored once. Call this at the end of a round, or of a thread whose results are not used.
///
/// A broken promise can hide executions. As a rule it shows as a failure of kind `nondeterminism`.
public func forget(_ position: Int) { Explorer.current.forget(position) }

/// Runs `body`, and promises that the running thread then uses nothing that it has read there but the
/// result, of which `hash` returns a hash: no variable outside has changed that the checker does not
/// see. A broken promise is as in `forget(_:)`.
public func keepingOnlyResult<Result, Failure: Error>(
  _ hash: (Result) -> UInt64, _ body: () throws(Failure) -> Result
) throws(Failure) -> Result {
  let explorer = Explorer.current
  let before = explorer.threads[explorer.running].history
  let result = try body()
  explorer.forget(since: before, keeping: hash(result))
  return result
}

import Glibc
import Primitives
import Synchronization

/// Runs `body` on `count` threads that start together. Returns what each of them returned.
///
/// The threads are new each time, so that no round has an advantage from their stacks, reader slots
/// or cores.
func inParallel(_ count: Int, _ body: @escaping @Sendable (Int) -> UInt64) -> [UInt64] {
  let crew = Crew(count, body)
  let threads = (0..<count).map { index in startThread { crew.work(index) } }
  for thread in threads { thread.join() }
  return crew.results.withLock { $0 }
}

private func startThread(_ body: @escaping @Sendable () -> Void) -> WorkerThread {
  guard let thread = WorkerThread(body) else { preconditionFailure("bench: no thread") }
  return thread
}

/// A thread that repeats `body` until it is stopped.
final class Companion: Sendable {
  private final class Flag: Sendable { let isSet = Atomic(false) }
  private let stopping = Flag()
  private let thread: WorkerThread

  init(_ body: @escaping @Sendable () -> Void) {
    thread = startThread { [stopping] in
      while !stopping.isSet.load(ordering: .relaxed) { body() }
    }
  }

  /// Stops the thread and waits for its end. Call once.
  func stop() {
    stopping.isSet.store(true, ordering: .relaxed)
    thread.join()
  }
}

private final class Crew: Sendable {
  let body: @Sendable (Int) -> UInt64
  let size: Int
  let ready = Atomic<Int>(0)
  let results: Mutex<[UInt64]>

  init(_ size: Int, _ body: @escaping @Sendable (Int) -> UInt64) {
    self.size = size
    self.body = body
    results = Mutex([UInt64](repeating: 0, count: size))
  }

  func work(_ index: Int) {
    ready.add(1, ordering: .acquiringAndReleasing)
    // With more threads than cores, spinning would keep the last ones from starting.
    while ready.load(ordering: .acquiring) < size { sched_yield() }
    let result = body(index)
    results.withLock { $0[index] = result }
  }
}

import Glibc
import Synchronization

/// Runs `body` on `count` threads that start together; returns what each returned.
///
/// They are new each time, so that their stacks, reader slots and core are no round's privilege.
func inParallel(_ count: Int, _ body: @escaping @Sendable (Int) -> UInt64) -> [UInt64] {
  let crew = Crew(count, body)
  var threads: [pthread_t] = []
  for index in 0..<count {
    var thread = pthread_t()
    let start = unsafe Unmanaged.passRetained(Start(crew, index)).toOpaque()
    let failed = unsafe pthread_create(&thread, nil, threadMain, start)
    precondition(failed == 0, "bench: no thread")
    threads.append(thread)
  }
  for thread in threads { pthread_join(thread, nil) }
  return crew.results.withLock { $0 }
}

private func threadMain(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  let start = unsafe Unmanaged<Start>.fromOpaque(argument.unsafelyUnwrapped).takeRetainedValue()
  start.crew.work(start.index)
  return nil
}

private final class Start: Sendable {
  let crew: Crew
  let index: Int
  init(_ crew: Crew, _ index: Int) {
    self.crew = crew
    self.index = index
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
    // With more threads than cores, spinning would keep the last from ever starting.
    while ready.load(ordering: .acquiring) < size { sched_yield() }
    let result = body(index)
    results.withLock { $0[index] = result }
  }
}

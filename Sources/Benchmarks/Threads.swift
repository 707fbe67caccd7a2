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

/// A thread that repeats `body` until it is stopped.
final class Companion: Sendable {
  private let stopping = Atomic<Bool>(false)
  private let body: @Sendable () -> Void
  private let thread = Mutex<pthread_t?>(nil)

  init(_ body: @escaping @Sendable () -> Void) {
    self.body = body
    var started = pthread_t()
    let failed = unsafe pthread_create(
      &started, nil,
      { argument in
        let companion = unsafe Unmanaged<Companion>.fromOpaque(argument.unsafelyUnwrapped)
          .takeRetainedValue()
        while !companion.stopping.load(ordering: .relaxed) { companion.body() }
        return nil
      }, Unmanaged.passRetained(self).toOpaque())
    precondition(failed == 0, "bench: no thread")
    thread.withLock { [started] in $0 = started }
  }

  func stop() {
    stopping.store(true, ordering: .relaxed)
    if let thread = thread.withLock({ $0.take() }) { pthread_join(thread, nil) }
  }
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

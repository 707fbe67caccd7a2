import Interleave

/// All that a crash can leave of a program, by brute force: every prefix of every interleaving,
/// with nothing left out. It shares no code with the checker.
///
/// It is for programs that do not depend on old values that loads may return.
struct CrashReference {
  private let program: CrashProgram
  private var next: [Int]
  /// What the load of a copy returned, until its store.
  private var loaded: [UInt64?]
  private var memory = [UInt64](repeating: 0, count: CrashProgram.words)
  private var holder: Int?
  /// For each cell the value that is certain, and those written since by a thread that has not
  /// released yet, the oldest first.
  private var certain = [UInt64](repeating: 0, count: CrashProgram.cells)
  private var flying: [[(thread: Int, value: UInt64)]] = .init(
    repeating: [], count: CrashProgram.cells)

  private(set) var left: Set<CrashProgram.Left> = []
  private(set) var prefixes = 0

  init(_ program: CrashProgram) {
    self.program = program
    next = program.threads.map { _ in 0 }
    loaded = program.threads.map { _ in nil }
  }

  mutating func explore() {
    prefixes += 1
    crash()
    for thread in program.threads.indices where canRun(thread) {
      let before = (next, loaded, memory, holder, certain, flying)
      step(thread)
      explore()
      (next, loaded, memory, holder, certain, flying) = before
    }
  }

  private func canRun(_ thread: Int) -> Bool {
    guard next[thread] < program.threads[thread].count else { return false }
    return switch program.threads[thread][next[thread]] {
    case .await(let at, _): memory[at] != 0
    case .lock: holder == nil
    default: true
    }
  }

  private mutating func step(_ thread: Int) {
    let step = program.threads[thread][next[thread]]
    next[thread] += 1
    switch step {
    case .store(let at, let value, let order):
      memory[at] = value
      if releases(order) { release(thread) }
    case .add(let at, let order):
      memory[at] += 1
      if releases(order) { release(thread) }
    case .compareExchange(let at, let from, let to, let order):
      guard memory[at] == from else { break }
      memory[at] = to
      if releases(order) { release(thread) }
    case .copy(let from, let to, let order):
      guard let value = loaded[thread] else {
        loaded[thread] = memory[from]
        next[thread] -= 1
        return
      }
      loaded[thread] = nil
      memory[to] = value
      if releases(order) { release(thread) }
    case .write(let cell, let value): flying[cell].append((thread, value))
    case .fence(let order): if releases(order) { release(thread) }
    // A fence on another thread does not keep that thread's compiler from delaying its writes.
    case .processFence: release(thread)
    case .await: break
    case .lock: holder = thread
    case .unlock:
      holder = nil
      release(thread)
    }
  }

  private func releases(_ order: MemoryOrder) -> Bool {
    order == .release || order == .acquireRelease || order == .sequential
  }

  /// What the thread has written so far is certain now.
  private mutating func release(_ thread: Int) {
    for cell in flying.indices {
      guard let last = flying[cell].lastIndex(where: { $0.thread == thread }) else { continue }
      certain[cell] = flying[cell][last].value
      flying[cell].removeFirst(last + 1)
    }
  }

  /// Each cell may hold the certain value or any later one, independently of the others.
  private mutating func crash() {
    var all: [CrashProgram.Left] = [
      program.survivors.indices.filter { program.survivors[$0] }.map { memory[$0] }
    ]
    for cell in certain.indices {
      let values = [certain[cell]] + flying[cell].map(\.value)
      all = all.flatMap { left in values.map { left + [$0] } }
    }
    left.formUnion(all)
  }
}

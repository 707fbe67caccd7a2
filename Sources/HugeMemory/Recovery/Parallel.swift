import CLinux
import Primitives

// The model checker's build replaces this file.

/// Work that many threads share.
enum Parallel {
  /// Runs `body` on as many threads as there are cores, this one included, but at most 16. Returns when
  /// all have ended. If the system has no thread, the others do all of it.
  static func run(_ body: @escaping @Sendable () -> Void) {
    let more = min(16, Int(hm_usable_cores())) - 1
    let threads = (0..<max(0, more)).compactMap { _ in WorkerThread(body) }
    body()
    for thread in threads { thread.join() }
  }

  /// Runs `body` once for each number of a range, on several threads. Neighbours come to one thread.
  static func each(_ range: Range<Int>, _ body: @escaping @Sendable (Int) -> Void) {
    let portion = 64
    guard range.count > portion else { return range.forEach(body) }
    let next = AtomicCount()
    run {
      while true {
        let start = range.lowerBound + Int(next.word.add(UInt64(portion), .relaxed))
        guard start < range.upperBound else { return }
        for index in start..<min(start + portion, range.upperBound) { body(index) }
      }
    }
  }

  private final class AtomicCount: Sendable { let word = AtomicWord(0) }
}

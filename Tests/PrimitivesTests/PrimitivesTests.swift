import Primitives
import Testing

private final class Shared: @unchecked Sendable {
  // Sendable: `plain` is only touched under the lock.
  let lock = SpinLock()
  var plain = 0
  let word = AtomicWord(0)
}

@Suite struct PrimitivesTests {
  @Test(arguments: [MemoryOrder.relaxed, .acquire, .release, .acquireRelease, .sequential])
  func everyOrderComputesTheSame(order: MemoryOrder) {
    let word = AtomicWord(5)
    #expect(word.add(2, order) == 5 && word.subtract(3, order) == 7)
    #expect(word.compareExchange(3, 9, order) == (false, 4))
    #expect(word.compareExchange(4, 9, order) == (true, 4))
    #expect(word.load(.acquire) == 9)
  }

  @Test func arithmeticWraps() {
    let word = AtomicWord(.max)
    #expect(word.add(1, .relaxed) == .max)
    #expect(word.subtract(1, .relaxed) == 0)
  }

  @Test func threadsUnderTheLockLoseNothing() throws {
    let shared = Shared()
    let threads = try (0..<4).map { _ in
      try #require(
        WorkerThread {
          for _ in 0..<20_000 {
            shared.lock.withLock { shared.plain += 1 }
            shared.word.add(1, .relaxed)
          }
        })
    }
    for thread in threads { thread.join() }
    #expect(shared.plain == 80_000 && shared.word.load(.relaxed) == 80_000)
  }
}

import Foundation
import LockFree
import Synchronization
import Testing

/// The build for programs, on real threads. This shows that it works, not that it always does: for
/// that, see ModelTests.
@Suite struct LockFreeTests {
  /// Runs the bodies on threads of their own, and waits for their ends.
  private func concurrently(_ bodies: [@Sendable () -> Void]) {
    let ended = DispatchGroup()
    for body in bodies {
      ended.enter()
      Thread.detachNewThread {
        body()
        ended.leave()
      }
    }
    ended.wait()
  }

  @Test func aRingKeepsTheOrder() {
    let ring = Ring<Int>(capacity: 8), sum = Atomic(0), count = 100_000
    concurrently([
      { for value in 0..<count { while !ring.push(value) { sched_yield() } } },
      {
        for expected in 0..<count {
          while true {
            if let value = ring.pop() {
              if value == expected { sum.wrappingAdd(1, ordering: .relaxed) }
              break
            }
            sched_yield()
          }
        }
      },
    ])
    #expect(sum.load(ordering: .relaxed) == count && ring.pop() == nil)
  }

  @Test func noIndexHasTwoOwners() {
    let stack = IndexStack<Tagged>(capacity: 3)
    let owners = (0..<3).map { _ in Owner() }, clashes = Atomic(0)
    let body: @Sendable () -> Void = {
      for _ in 0..<50_000 {
        guard let index = stack.pop() else { continue }
        if owners[index].isTaken.exchange(true, ordering: .relaxed) {
          clashes.wrappingAdd(1, ordering: .relaxed)
        }
        owners[index].isTaken.store(false, ordering: .relaxed)
        stack.push(index)
      }
    }
    concurrently(Array(repeating: body, count: 4))
    #expect(clashes.load(ordering: .relaxed) == 0)
    #expect(Set((0..<3).map { _ in stack.pop() }) == [0, 1, 2] && stack.pop() == nil)
  }
}

private final class Owner: Sendable { let isTaken = Atomic(false) }

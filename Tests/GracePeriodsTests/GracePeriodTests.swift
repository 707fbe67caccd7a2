import Glibc
import Synchronization
import Testing

@testable import GracePeriods
import Primitives

/// The process has only one set of slots, so these tests run one after the other.
@Suite(.serialized) struct GracePeriodTests {
  @Test func withoutReadersItReturns() {
    let grace = GracePeriod.shared
    for _ in 0..<100 { grace.synchronize() }
    let section = grace.enter()
    section.leave()
    grace.synchronize()
  }

  @Test func itWaitsForASectionThatWasOpen() {
    let grace = GracePeriod.shared
    let ended = Atomic(false), open = Atomic(true)
    let section = grace.enter()
    let waiter = startThread {
      grace.synchronize()
      if open.load(ordering: .acquiring) { Issue.record("returned within the section") }
      ended.store(true, ordering: .releasing)
    }
    for _ in 0..<2000 {
      sched_yield()
      if ended.load(ordering: .acquiring) { break }
    }
    let early = ended.load(ordering: .acquiring)
    #expect(!early)
    open.store(false, ordering: .releasing)
    section.leave()
    waiter.join()
    let late = ended.load(ordering: .acquiring)
    #expect(late)
  }

  /// Readers that come and go must not keep a waiter waiting for ever: it waits only for those that
  /// were inside a section when it began.
  @Test func itDoesNotWaitForSectionsThatOpenLater() {
    let grace = GracePeriod.shared
    let done = Atomic(false)
    let started = Atomic(0)
    let readers = (0..<2).map { _ in
      startThread {
        var sum = 0
        while !done.load(ordering: .relaxed) {
          let section = grace.enter()
          sum += 1
          section.leave()
          if sum == 1 { started.add(1, ordering: .relaxed) }
        }
      }
    }
    while started.load(ordering: .relaxed) < 2 { sched_yield() }
    for _ in 0..<60 { grace.synchronize() }
    done.store(true, ordering: .relaxed)
    for reader in readers { reader.join() }
  }

  /// After a cell is unpublished and a grace period has passed, no reader reads it any more. A
  /// reader that did would find the poison.
  @Test func whatWasUnpublishedIsReadByNobodyAfterwards() {
    let grace = GracePeriod.shared
    let cells = Cells()
    let done = Atomic(false)
    let readers = (0..<3).map { _ in
      startThread {
        while !done.load(ordering: .relaxed) {
          let section = grace.enter()
          let current = cells.current.load(ordering: .acquiring)
          for _ in 0..<8 where cells.values[current].get() != 1 {
            Issue.record("read after the grace period")
          }
          section.leave()
        }
      }
    }
    for round in 1...600 {
      let old = (round - 1) % 8, new = round % 8
      cells.values[new].set(1)
      cells.current.store(new, ordering: .releasing)
      grace.synchronize()
      cells.values[old].set(0xdead)
    }
    done.store(true, ordering: .relaxed)
    for reader in readers { reader.join() }
  }

  @Test func endedThreadsLeaveTheirSlots() {
    let grace = GracePeriod.shared
    let visit: @Sendable () -> Void = {
      let section = grace.enter()
      section.leave()
    }
    startThread(visit).join()
    let before = grace.highest.load(.acquire)
    for _ in 0..<500 { startThread(visit).join() }
    // Threads of other suites may take a slot now and then.
    #expect(grace.highest.load(.acquire) < before + 100)
    grace.synchronize()
  }

  @Test func everyThreadHasItsOwnSlot() {
    let grace = GracePeriod.shared
    let inside = Atomic(0), leave = Atomic(false)
    let threads = (0..<40).map { _ in
      startThread {
        let section = grace.enter()
        inside.add(1, ordering: .acquiringAndReleasing)
        while !leave.load(ordering: .acquiring) { sched_yield() }
        section.leave()
      }
    }
    while inside.load(ordering: .acquiring) < 40 { sched_yield() }
    var open = 0
    for index in 0..<Int(grace.highest.load(.acquire)) {
      let word = unsafe grace.slots[index * ReaderSlot.stride].load(.acquire)
      if word != 0 && word != UInt64.max { open += 1 }
    }
    #expect(open >= 40)
    leave.store(true, ordering: .releasing)
    for thread in threads { thread.join() }
    grace.synchronize()
  }
}

private final class Cells: Sendable {
  let current = Atomic(0)
  let values: [Cell] = (0..<8).map { Cell($0 == 0 ? 1 : 0) }
}

private final class Cell: Sendable {
  private let value: Atomic<Int>
  init(_ value: Int) { self.value = Atomic(value) }
  func set(_ new: Int) { value.store(new, ordering: .relaxed) }
  func get() -> Int { value.load(ordering: .relaxed) }
}

/// Starts a thread. It has ended when its `join` returns.
private func startThread(_ body: @escaping @Sendable () -> Void) -> WorkerThread {
  WorkerThread(body)!
}

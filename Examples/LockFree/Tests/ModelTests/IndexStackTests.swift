import Interleave
import LockFreeModel
import Testing

/// The stack with tags, and with the ABA problem planted.
@Suite struct IndexStackTests {
  /// One thread takes an index. The other takes two and gives the first one back.
  static func pops<Tags: TagPolicy>(_ tags: Tags.Type) -> (Scenario) -> Void {
    { scenario in
      let stack = IndexStack<Tags>(capacity: 3), taken = Taken()
      scenario.thread("slow") { taken.add(stack.pop()) }
      scenario.thread("fast") {
        let first = stack.pop()
        taken.add(stack.pop())
        if let first { stack.push(first) }
      }
      scenario.finally {
        while let index = stack.pop(), taken.indices.count < 4 { taken.add(index) }
        check(taken.indices.sorted() == [0, 1, 2], "the indices \(taken.indices) were taken")
      }
    }
  }

  /// Without tags, an index gets two owners. The report has the trace, and its token replays it.
  @Test func withoutTagsAnIndexHasTwoOwners() throws {
    let report = Checker().run(Self.pops(Untagged.self))
    print("untagged:", report)
    let failure = try #require(report.failure)
    #expect(failure.kind == .check && failure.message.contains("were taken"))
    #expect(failure.trace.contains { $0.contains("slow") && $0.contains("IndexStack.swift:") })

    let token = try #require(ReplayToken("\(failure.token)"))
    let again = try #require(Checker().replay(token, Self.pops(Untagged.self)))
    #expect(again.trace == failure.trace)
  }

  @Test func withTagsNothingFailsInAnyExecution() {
    let report = Checker().run(Self.pops(Tagged.self))
    print("tagged:", report)
    #expect(report.isComplete, "\(report)")
  }

  /// Each thread takes an index, uses plain memory that belongs to it, and gives it back.
  static func owners(_ threads: Int, capacity: Int) -> (Scenario) -> Void {
    { scenario in
      let stack = IndexStack<Tagged>(capacity: capacity)
      let memory = (0..<capacity).map { ModelCell(0, name: "memory \($0)") }
      for thread in 1...threads {
        scenario.thread("owner \(thread)") {
          guard let index = stack.pop() else { return }
          memory[index].store(memory[index].load() + 1)
          stack.push(index)
        }
      }
      scenario.finally {
        let indices = (0..<capacity).map { _ in stack.pop() }
        check(Set(indices) == Set(0..<capacity) && stack.pop() == nil, "\(indices) are left")
      }
    }
  }

  /// Plants a bug at each ordering: the checker makes it weaker, and one of the scenarios must notice.
  @Test func everyWeakerOrderingIsFound() {
    var found: [Weakening: Bool] = [:]
    for scenario in [Self.pops(Tagged.self), Self.owners(2, capacity: 2)] {
      for (weakening, report) in Checker().weaken(files: ["IndexStack.swift"], scenario) {
        found[weakening] = found[weakening] == true || report.failure != nil
      }
    }
    #expect(found.count == 3)
    for (weakening, isFound) in found { #expect(isFound, "\(weakening)") }
  }

  /// Three threads. Executions with more than one preemption are not explored here. In an optimized
  /// build, `Checker()` explores all of them.
  @Test func withTagsThreeThreadsHaveNoFailureWithOnePreemption() {
    let report = Checker(preemptionBound: 1).run(Self.owners(3, capacity: 2))
    print("three threads:", report)
    guard case .bounded(preemptions: 1) = report.verdict else {
      Issue.record("\(report)")
      return
    }
  }
}

/// The indices that were taken. Only the thread that took one adds it.
private final class Taken {
  private(set) var indices: [Int] = []
  func add(_ index: Int?) { if let index { indices.append(index) } }
}

import Foundation
import HugeMemory
import Primitives
import Synchronization
import Testing

@testable import HugeArrays

/// Copies on several threads, and several writers of one array, while the machine's background does
/// what it does. ThreadSanitizer runs them too.
@Suite(.serialized) struct HugeArrayConcurrencyTests {
  /// A value under a lock that the sanitizer knows.
  private final class Guarded<Value>: @unchecked Sendable {
    // Sendable: (L) lock.
    private let lock = Lock()
    private var value: Value
    init(_ value: Value) { self.value = value }
    func withLock<Result>(_ body: (inout Value) -> Result) -> Result {
      lock.withLock { body(&value) }
    }
  }

  static let rounds = Int(ProcessInfo.processInfo.environment["HUGEMEMORY_ROUNDS"] ?? "300")!

  private func onThreads(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
    DispatchQueue.concurrentPerform(iterations: count, execute: body)
  }

  /// Each thread takes copies of one array, changes them and looks whether the others' changes show.
  @Test(arguments: [true, false]) func copiesOnThreadsAreValues(huge: Bool) throws {
    let machine = try quietMachine()
    if huge { machine.tune { $0 = .linux } }
    let shared = Guarded(HugeArray(repeating: -1, count: 5000, machine: machine))
    let left = Atomic(3)
    onThreads(4) { thread in
      var random = Random(seed: UInt64(thread))
      if thread == 3 {
        while left.load(ordering: .relaxed) > 0 { machine.disturb() }
        return
      }
      for round in 0..<Self.rounds {
        let original = shared.withLock { $0 }
        var copy = original
        let mark = thread << 32 | round
        let indices = (0..<20).map { _ in random.below(5000) }
        for index in indices { copy[index] = mark }
        for index in indices where copy[index] != mark { Issue.record("lost at \(index)") }
        for index in indices where original[index] == mark { Issue.record("leaked at \(index)") }
        // A later reader of the same original sees what it saw before.
        if round % 5 == 0, Set(original).count > 1 + 20 * 3 * Self.rounds {
          Issue.record("garbage")
        }
        shared.withLock { if random.below(3) == 0 { $0 = copy } }
      }
      left.wrappingSubtract(1, ordering: .relaxed)
    }
    shared.withLock { $0 = HugeArray(machine: machine) }
    #expect(machine.isEmpty)
  }

  /// Many threads read one value by every way, and copies of it are written meanwhile.
  @Test func manyReadersOfOneArray() throws {
    let machine = try quietMachine()
    let array = HugeArray(0..<20_000, machine: machine)
    let sum = 20_000 * 19_999 / 2
    onThreads(4) { thread in
      for round in 0..<max(2, Self.rounds / 20) {
        switch (thread + round) % 5 {
        case 0: if array.reduce(0, +) != sum { Issue.record("iterator") }
        case 1: if array.indices.reduce(0, { $0 + array[$1] }) != sum { Issue.record("subscript") }
        case 2:
          var seen = 0
          array.withContiguousPieces { _, piece in
            for index in piece.indices { seen += piece[index] }
          }
          if seen != sum { Issue.record("pieces") }
        case 3:
          var (index, seen) = (0, 0)
          while index < array.count {
            let span = array.span(of: index..<array.count)
            for place in span.indices { seen += span[place] }
            index += span.count
          }
          if seen != sum { Issue.record("spans") }
        default:
          var copy = array
          for index in copy.indices { copy[index] = 0 }
          machine.disturb()
          if copy.contains(where: { $0 != 0 }) { Issue.record("copy") }
        }
      }
    }
  }

  /// Each writer owns every fourth element, so all of them write the same pages.
  @Test(arguments: [true, false]) func writersOfOneArrayLoseNothing(huge: Bool) throws {
    let machine = try quietMachine()
    if huge { machine.tune { $0 = .linux } }
    var array = HugeArray<Int>(count: 8000, machine: machine)
    let copy = array
    array.withConcurrentView { view in
      let left = Atomic(4)
      onThreads(5) { thread in
        if thread == 4 {
          while left.load(ordering: .relaxed) > 0 { machine.disturb() }
          return
        }
        for round in 0..<max(2, Self.rounds / 30) {
          for index in stride(from: thread, to: 8000, by: 4) { view[index] = round << 16 | index }
          for index in stride(from: thread, to: 8000, by: 4)
          where view[index] != round << 16 | index { Issue.record("lost at \(index)") }
        }
        left.wrappingSubtract(1, ordering: .relaxed)
      }
      onThreads(4) { part in
        view.withMutableContiguousPieces(in: part * 2000..<(part + 1) * 2000) { start, piece in
          for index in piece.indices { piece[index] = start + index }
        }
      }
      try? view.update(from: [-1, -2].span, at: 1999)
    }
    #expect(array.elements == Array(0..<1999) + [-1, -2] + Array(2001..<8000))
    #expect(copy.allSatisfy { $0 == 0 })
  }
}

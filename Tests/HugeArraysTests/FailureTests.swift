import Foundation
@testable import Frames
@testable import HugeMemory
import Testing

@testable import HugeArrays

/// No memory, wrong indices: what a caller gets, and what it has afterwards.
@Suite struct FailureTests {
  enum Operation: CaseIterable {
    case store, update, removeAll, resize, shrink, reserveMemory

    func run(_ array: inout HugeArray<Int>) throws(MemoryError) {
      switch self {
      case .store: try array.store(-1, at: 700)
      case .update: try array.update(from: [Int](repeating: -1, count: 2000).span, at: 300)
      case .removeAll: try array.removeAll(in: 600..<2600)
      case .resize: try array.resize(to: 1 << 30)
      case .shrink: try array.resize(to: 700)
      case .reserveMemory: try array.reserveMemory(in: 0..<3000)
      }
    }
  }

  /// Fails the first allocation of an operation, then the second, and so on, until one call needs no
  /// more. The array that a copy shares is whole in any case; the one that changes has old or new
  /// elements.
  @Test(arguments: Operation.allCases) func everyAllocationMayFail(operation: Operation) throws {
    let machine = try quietMachine(64)
    var failures = 0
    for allocation in 1...60 {
      var array = HugeArray(0..<3000, machine: machine)
      let copy = array
      var wanted = array
      try operation.run(&wanted)
      machine.settle()
      machine.failAllocation(allocation)
      do {
        try operation.run(&array)
        machine.failAllocation(0)
        #expect(array == wanted, "\(operation)")
        if allocation > failures + 1 { break }
      } catch {
        machine.failAllocation(0)
        failures += 1
        if case .outOfMemory = error {} else { Issue.record("\(operation): \(error)") }
        #expect(array.count == copy.count || array.count == wanted.count)
        for index in 0..<min(array.count, copy.count) {
          let isKnown =
            array[index] == copy[index] || index < wanted.count && array[index] == wanted[index]
          if !isKnown { Issue.record("\(operation): \(array[index]) at \(index)") }
        }
      }
      #expect(copy.elements == Array(0..<3000), "\(operation)")
    }
    #expect(failures > 0, "\(operation) allocates nothing")
    #expect(machine.isEmpty)
  }

  @Test func aFullMachineThrowsAndGoesOn() throws {
    let machine = try quietMachine(4)
    var array = HugeArray<Int>(count: 1 << 30, machine: machine)
    var index = 0
    #expect(throws: MemoryError.self) {
      while true {
        try array.store(index, at: index)
        index += 512
      }
    }
    #expect(index > 0)
    #expect(stride(from: 0, to: index, by: 512).allSatisfy { array[$0] == $0 })
    try array.removeAll(in: 0..<index)
    try array.store(1, at: 1 << 29)
    #expect(array[1 << 29] == 1)
  }

  @Test func reservedMemoryCanBeWrittenWhenTheMachineIsFull() throws {
    let machine = try quietMachine(8)
    var array = HugeArray<Int>(count: 1 << 20, machine: machine)
    try array.reserveMemory(in: 1000..<100_000)
    var other = HugeArray<Int>(count: 1 << 30, machine: machine)
    #expect(throws: MemoryError.self) {
      for index in stride(from: 0, to: 1 << 30, by: 512) { try other.store(1, at: index) }
    }
    machine.disturb()
    for index in 1000..<100_000 { array[index] = index }
    #expect((1000..<100_000).allSatisfy { array[$0] == $0 })
  }

  @Test func aWrongIndexEndsTheProgram() async {
    await #expect(processExitsWith: .failure) { _ = HugeArray<Int>(count: 5)[5] }
    await #expect(processExitsWith: .failure) { _ = HugeArray<Int>(count: 5)[-1] }
    await #expect(processExitsWith: .failure) {
      var array = HugeArray<Int>(count: 5)
      array[5] = 1
    }
    await #expect(processExitsWith: .failure) { _ = HugeArray<Int>(count: 0)[0] }
    await #expect(processExitsWith: .failure) { _ = HugeArray<Int>(count: 5).span(of: 3..<6) }
    await #expect(processExitsWith: .failure) {
      HugeArray<Int>(count: 5).withContiguousPieces(in: -1..<2) { _, _ in }
    }
    await #expect(processExitsWith: .failure) {
      var array = HugeArray<Int>(count: 5)
      try array.update(from: [1, 2].span, at: 4)
    }
    await #expect(processExitsWith: .failure) {
      var array = HugeArray<Int>(count: 5)
      try array.removeAll(in: 0..<6)
    }
    await #expect(processExitsWith: .failure) {
      var array = HugeArray<Int>(count: 5)
      array.withConcurrentView { $0[5] = 1 }
    }
    await #expect(processExitsWith: .failure) {
      var array = HugeArray<Int>(count: 5)
      var escaped: HugeArray<Int>.ConcurrentView?
      array.withConcurrentView { escaped = $0 }
      escaped?[0] = 1
    }
  }

  @Test func aWrongCountEndsTheProgram() async {
    await #expect(processExitsWith: .failure) { _ = HugeArray<Int>(count: -1) }
    await #expect(processExitsWith: .failure) { _ = HugeArray<Int>(count: 1 << 45 + 1) }
    await #expect(processExitsWith: .failure) { _ = HugeArray<UInt8>(count: .max) }
    await #expect(processExitsWith: .failure) {
      var array = HugeArray<Int>(count: 5)
      try array.resize(to: -1)
    }
    await #expect(processExitsWith: .failure) {
      var array = HugeArray<Int>()
      array.removeLast()
    }
    await #expect(processExitsWith: .failure) {
      var array = HugeArray<Int>(count: 5)
      array.removeLast(6)
    }
    await #expect(processExitsWith: .failure) {
      _ = HugeArray<InlineArray<1024, Int>>(count: 1)
    }
  }

  @Test func aFullMachineEndsTheProgramInASubscript() async {
    await #expect(processExitsWith: .failure) {
      var array = HugeArray<Int>(count: 1 << 30, machine: try Machine(limit: 4 << 20))
      for index in stride(from: 0, to: 1 << 30, by: 512) { array[index] = 1 }
    }
  }
}

extension Machine {
  /// Makes the allocation of this number and all later ones fail, so that reclaim does not help; 0
  /// makes none fail.
  func failAllocation(_ number: Int) {
    arena.failing.store(number == 0 ? 0 : 1 << 63 | UInt64(number), .relaxed)
  }
}

// What stands in for the machine when the production sources are compiled against the checker.
// Declarations of this module win over imported ones of the same name, so those sources need no
// conditional compilation: they import Primitives, CLinux and Glibc as ever, and find these.

import Interleave

public enum MemoryOrder: Sendable { case relaxed, acquire, release, acquireRelease, sequential }

extension MemoryOrder {
  var model: Interleave.MemoryOrder {
    switch self {
    case .relaxed: .relaxed
    case .acquire: .acquire
    case .release: .release
    case .acquireRelease: .acquireRelease
    case .sequential: .sequential
    }
  }
}

/// `Primitives.AtomicWord` with the checker's word inside. The defaulted parameters make traces
/// show the lines of production code, and let a plant find its function.
public struct AtomicWord: ~Copyable, Sendable {
  private let word: ModelWord
  public init(_ value: UInt64, file: StaticString = #fileID, line: UInt = #line) {
    word = ModelWord(value, file: file, line: line)
  }
  init(named name: String) { word = ModelWord(0, name: name) }

  public borrowing func load(
    _ order: MemoryOrder, file: StaticString = #fileID, line: UInt = #line,
    function: StaticString = #function
  ) -> UInt64 {
    if let value = plant.value(function) { return value }
    return word.load(plant.order(order, function), file: file, line: line)
  }

  public borrowing func store(
    _ value: UInt64, _ order: MemoryOrder, file: StaticString = #fileID, line: UInt = #line,
    function: StaticString = #function
  ) { word.store(value, plant.order(order, function), file: file, line: line) }

  @discardableResult
  public borrowing func add(
    _ value: UInt64, _ order: MemoryOrder, file: StaticString = #fileID, line: UInt = #line,
    function: StaticString = #function
  ) -> UInt64 { word.add(value, plant.order(order, function), file: file, line: line) }

  @discardableResult
  public borrowing func subtract(
    _ value: UInt64, _ order: MemoryOrder, file: StaticString = #fileID, line: UInt = #line,
    function: StaticString = #function
  ) -> UInt64 { word.subtract(value, plant.order(order, function), file: file, line: line) }

  public borrowing func compareExchange(
    _ expected: UInt64, _ desired: UInt64, _ order: MemoryOrder,
    file: StaticString = #fileID, line: UInt = #line, function: StaticString = #function
  ) -> (exchanged: Bool, original: UInt64) {
    word.compareExchange(expected, desired, plant.order(order, function), file: file, line: line)
  }

  public static func fence(file: StaticString = #fileID, line: UInt = #line) {
    if plant != .noFence { ModelWord.fence(.sequential, file: file, line: line) }
  }
}
public typealias AtomicWordPointer = UnsafeMutablePointer<AtomicWord>

/// A lock to sleep on is one to wait for; the checker knows how.
public struct Lock: ~Copyable, Sendable {
  private let lock = SpinLock()
  public borrowing func withLock<Result, Failure: Error>(
    _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    plant == .noLock ? try body() : try lock.withLock(body)
  }
}

/// Two small frames to a huge one, two entries to a table: the same code on a tiny machine.
public enum FrameGeometry {
  public static var frameShift: Int { 5 }
  public static var frameSize: Int { 1 << frameShift }
  public static var hugeOrder: Int { 1 }
  public static var framesPerHuge: Int { 1 << hugeOrder }
  public static var hugeSize: Int { frameSize << hugeOrder }
}
public typealias FrameNumber = UInt32

/// Counters would be locations that every fault touches; nothing depends on them.
public final class Counters: Sendable {
  struct Counter { func count() {} }
  var fault: Counter { Counter() }
  var faultAlloc: Counter { Counter() }
  var faultFallback: Counter { Counter() }
  var zeroPageAlloc: Counter { Counter() }
  var zeroPageAllocFailed: Counter { Counter() }
  var zeroPageFree: Counter { Counter() }
  var splitPage: Counter { Counter() }
  var splitPMD: Counter { Counter() }
  var forks: Counter { Counter() }
  var copyOnWrite: Counter { Counter() }
  var tableCopies: Counter { Counter() }
  var all: [(name: String, value: UInt64)] { [] }
}

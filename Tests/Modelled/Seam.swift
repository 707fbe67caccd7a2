// What stands in for the machine when the production sources are compiled against the checker.
// Declarations of this module win over imported ones of the same name, so those sources need no
// conditional compilation: they import Primitives, CLinux and Glibc as ever, and find these.

import Interleave

public enum MemoryOrder: Sendable { case relaxed, acquire, release, acquireRelease, sequential }

extension MemoryOrder {
  fileprivate var model: Interleave.MemoryOrder {
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
/// show the lines of production code.
public struct AtomicWord: ~Copyable, Sendable {
  private let word: ModelWord
  public init(_ value: UInt64, file: StaticString = #fileID, line: UInt = #line) {
    word = ModelWord(value, file: file, line: line)
  }
  public init(named name: String) { word = ModelWord(0, name: name) }

  public borrowing func load(
    _ order: MemoryOrder, file: StaticString = #fileID, line: UInt = #line
  ) -> UInt64 { word.load(order.model, file: file, line: line) }

  public borrowing func store(
    _ value: UInt64, _ order: MemoryOrder, file: StaticString = #fileID, line: UInt = #line
  ) { word.store(value, order.model, file: file, line: line) }

  @discardableResult
  public borrowing func add(
    _ value: UInt64, _ order: MemoryOrder, file: StaticString = #fileID, line: UInt = #line
  ) -> UInt64 { word.add(value, order.model, file: file, line: line) }

  @discardableResult
  public borrowing func subtract(
    _ value: UInt64, _ order: MemoryOrder, file: StaticString = #fileID, line: UInt = #line
  ) -> UInt64 { word.subtract(value, order.model, file: file, line: line) }

  public borrowing func compareExchange(
    _ expected: UInt64, _ desired: UInt64, _ order: MemoryOrder,
    file: StaticString = #fileID, line: UInt = #line
  ) -> (exchanged: Bool, original: UInt64) {
    word.compareExchange(expected, desired, order.model, file: file, line: line)
  }

  public static func fence(file: StaticString = #fileID, line: UInt = #line) {
    ModelWord.fence(.sequential, file: file, line: line)
  }
}
public typealias AtomicWordPointer = UnsafeMutablePointer<AtomicWord>

/// A lock to sleep on is one to wait for; the checker knows how.
public typealias Lock = SpinLock

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

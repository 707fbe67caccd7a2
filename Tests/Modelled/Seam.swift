// What stands in for the machine when the production sources are compiled against the checker.
// Declarations of this module win over imported ones of the same name, so those sources need no
// conditional compilation: they import Primitives, CLinux and Glibc as ever, and find these.

import Interleave

public typealias AtomicWord = ModelWord
public typealias AtomicWordPointer = UnsafeMutablePointer<ModelWord>
public typealias MemoryOrder = Interleave.MemoryOrder
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

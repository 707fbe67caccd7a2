import Interleave

// The whole engine in a model: its sources as they are (links in `Engine`), on a tiny machine.

/// Two small frames to a huge one, two entries to a table.
public enum FrameGeometry {
  public static var frameShift: Int { 5 }
  public static var frameSize: Int { 1 << frameShift }
  public static var hugeOrder: Int { 1 }
  public static var framesPerHuge: Int { 1 << hugeOrder }
  public static var hugeSize: Int { frameSize << hugeOrder }
}
public typealias FrameNumber = UInt32

/// A bug put into the engine where it takes its locks: history item 2.
@safe nonisolated(unsafe) var plantsNoLock = false

/// A lock to sleep on is one to wait for; the checker knows how.
public struct Lock: ~Copyable, Sendable {
  private let lock = SpinLock()
  public borrowing func withLock<Result, Failure: Error>(
    _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    plantsNoLock ? try body() : try lock.withLock(body)
  }
}

/// Counters would be words that every fault touches; nothing depends on them.
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
  var collapseAlloc: Counter { Counter() }
  var deferredSplit: Counter { Counter() }
  var underusedSplit: Counter { Counter() }
  var forks: Counter { Counter() }
  var copyOnWrite: Counter { Counter() }
  var tableCopies: Counter { Counter() }
  var all: [(name: String, value: UInt64)] { [] }
}

/// Nobody scans here.
extension Machine { func splitUnderused() {} }
final class ScanList: Sendable {
  func add(_: AddressSpace) {}
}

let slotSize = UInt64(FrameGeometry.hugeSize)
let pageSize = UInt64(FrameGeometry.frameSize)

/// A machine for one execution, with room for `frames` small frames.
func makeEngine(frames: Int, _ reference: Policy.ZeroReference = .perTable) -> Machine {
  physical = nil
  var policy = Policy()
  policy.zeroReference = reference
  let machine = try? Machine(
    limit: UInt64(frames) * pageSize, policy: policy, grace: GracePeriod(expedited: true))
  return machine!
}

/// After everything is dropped and a shrink, nothing is in use (invariant 17).
func expectBaseline(_ machine: Machine) {
  machine.shrink()
  check(machine.memoryUsed == 0, "frames in use are back at the baseline")
  check(machine.zeroPageReferences == 0, "the zero page is gone")
}

extension AddressSpace {
  func byte(at offset: UInt64) -> UInt8 {
    var byte: UInt8 = 0xff
    withUnsafeMutableBytes(of: &byte) { try! read(at: offset, into: $0) }
    return byte
  }
  func put(_ byte: UInt8, at offset: UInt64) {
    withUnsafeBytes(of: byte) { try! write(at: offset, from: $0) }
  }
}

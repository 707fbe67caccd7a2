import Interleave
import Testing

@testable import Modelled

/// Something that threads of a scenario share, and that its end may drop.
final class Box<Value: ~Copyable>: @unchecked Sendable {
  // Sendable: fibres run one at a time.
  var value: Value
  init(_ value: consuming Value) { self.value = value }
}

/// A machine of its own for one execution: `frames` small frames, beside the unusable block.
func makeMachine(frames: Int, policy: Policy = Policy(), readers: Int = 2) -> Machine {
  readerSlots = [Int32](repeating: -1, count: 16)
  return try! Machine(
    limit: UInt64(frames * FrameGeometry.frameSize), policy: policy,
    grace: GracePeriod(slotCount: readers))
}

let slotSize = UInt64(2 * 32)
let pageSize = UInt64(32)

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

/// Runs a scenario; prints what it took. A bounded run must say so.
func prove(
  _ name: String, bound: Int? = nil, seconds: Int = 60, location: SourceLocation = #_sourceLocation,
  _ scenario: (Scenario) -> Void
) {
  var options = Checker.Options()
  options.preemptionBound = bound
  options.maximalDuration = .seconds(seconds)
  options.maximalSteps = 5000
  let report = Checker(options).run(scenario)
  print("\(name): \(report)")
  let proven = if case .failed = report.verdict { false } else { true }
  #expect(proven, sourceLocation: location)
}

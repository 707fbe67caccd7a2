import HugeMemory
import Testing

@testable import HugeArrays

/// SplitMix64: a seed gives the same numbers everywhere.
struct Random: RandomNumberGenerator {
  var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
    return z ^ z >> 31
  }
  mutating func below(_ bound: Int) -> Int { Int.random(in: 0..<bound, using: &self) }
  /// A range of up to `length` elements of `count`.
  mutating func range(_ count: Int, length: Int = .max) -> Range<Int> {
    let start = below(count + 1)
    return start..<start + below(min(length, count - start) + 1)
  }
}

/// An element for tests: a number, and the zero that the array must give for untouched memory.
protocol TestElement: BitwiseCopyable, Hashable, Codable, Sendable {
  init(number: Int)
  static var zero: Self { get }
}
extension TestElement where Self: FixedWidthInteger {
  init(number: Int) { self.init(truncatingIfNeeded: number) }
}
extension UInt8: TestElement {}
extension Int32: TestElement {}
extension Int: TestElement {}

/// 24 bytes, so 170 are in a page and its last 16 bytes are not used.
struct Triple: TestElement, AdditiveArithmetic {
  var first: Int
  var second: UInt32
  var third: Int64
  init(number: Int) {
    (first, second, third) = (number, UInt32(truncatingIfNeeded: number &* 3), Int64(~number))
  }
  static let zero = Triple()
  private init() { (first, second, third) = (0, 0, 0) }
  static func + (one: Triple, two: Triple) -> Triple { Triple(number: one.first &+ two.first) }
  static func - (one: Triple, two: Triple) -> Triple { Triple(number: one.first &- two.first) }
}

/// A machine on which nothing happens but what the test does.
func quietMachine(_ megabytes: UInt64 = 256) throws -> Machine {
  try Machine(limit: megabytes << 20, background: .none)
}

extension Machine {
  /// Everything that the background may do to memory, at once.
  func disturb() {
    var scanner = CollapseScanner(machine: self)
    _ = scanner.scan(entries: 1 << 16)
    splitUnderused()
    reclaim()
    revokeZeroPage()
    shrink()
  }

  /// Whether nothing is in use: no array, no hold and no table has been forgotten.
  var isEmpty: Bool {
    shrink()
    return memoryUsed == 0
  }
}

extension HugeArray {
  var elements: [Element] { Array(self) }
}

// SPDX-License-Identifier: GPL-2.0-only
//
// Bugs for the tests to find: the production file does what is right, and what it does arrives
// otherwise. Which variable is meant follows from the value: numbers of frames are small.
import Interleave
public import Linux

public enum Plant: Sendable {
  /// The count is stored before the page and its number.
  case countFirst
  /// Page and number are cleared after the lock is given back (history item 11).
  case clearedLate
  /// Publishing does not look whether there is a page.
  case publishesAnyway
  /// A change of the count does not look whether it was the count of that frame.
  case looksOnce
  /// No lock.
  case noLock
}

/// Of the scenarios that run, one at a time.
nonisolated(unsafe) public var plant: Plant?

/// What a thread has read last from `huge_zero_pfn`, and whether it has swapped the count since.
let lastFrame = ModelThreadLocal(0)
let hasSwapped = ModelThreadLocal(0)

/// Page and number, to be stored later.
nonisolated(unsafe) private var deferred: [UInt64] = []

private func isPage<Value: FixedWidthInteger>(_ value: Value) -> Bool {
  Value.self == UInt.self && value != .max && value >= UInt(1 << 20)
}

/// Returns what the load returns.
func plant<Value: FixedWidthInteger>(onLoad value: Value) -> Value {
  switch plant {
  case .publishesAnyway where isPage(value): return 0
  case .looksOnce where Value.self == UInt.self:
    defer { hasSwapped.value = 0 }
    if hasSwapped.value == 1 { return Value(lastFrame.value) }
    lastFrame.value = Int(truncatingIfNeeded: value)
    return value
  default: return value
  }
}

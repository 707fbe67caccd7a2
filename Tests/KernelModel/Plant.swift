// SPDX-License-Identifier: GPL-2.0-only
//
// Bugs for the tests to find. The production file does the right thing, and this file changes its
// effect. Frame numbers are small, so the value says which variable is meant.
import Interleave
public import Linux

public enum Plant: Sendable {
  /// The count is stored before the page and its number.
  case countFirst
  /// Page and number are cleared after the lock is released (history item 11).
  case clearedLate
  /// Publishing does not check whether there is a page.
  case publishesAnyway
  /// A change of the count does not check whether it was the count of that frame.
  case looksOnce
  /// No lock.
  case noLock
}

/// The bug in the running scenario. Scenarios run one at a time.
nonisolated(unsafe) public var plant: Plant?

/// The value that a thread last read from `huge_zero_pfn`, and whether it has swapped the count
/// since.
let lastFrame = ModelThreadLocal(0)
let hasSwapped = ModelThreadLocal(0)

/// The page and its number, to be stored later.
nonisolated(unsafe) private var deferred: [UInt64] = []

private func isPage<Value: FixedWidthInteger>(_ value: Value) -> Bool {
  Value.self == UInt.self && value != .max && value >= UInt(1 << 20)
}

/// Returns the value that the load is made to return.
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

// SPDX-License-Identifier: GPL-2.0-only
//
// Bugs for the tests to find. The production file does the right thing, and this file makes a part
// of it happen late or not at all.
import Interleave
public import Linux

public enum Planted: Sendable {
  /// The count is stored before the page and its number.
  case countFirst
  /// The number is cleared after the lock is released (history item 11).
  case clearedLate
  /// Publishing does not check whether there is a page.
  case publishesAnyway
  /// A change of the count does not check again whether it was the count of that frame.
  case looksOnce
  /// No lock.
  case noLock

  /// The bug in the running scenario. Scenarios run one at a time.
  nonisolated(unsafe) private static var bug: Planted?

  /// Plants the bug while `body` runs.
  public func planted(_ body: () -> Void) {
    Self.bug = self
    defer { Self.bug = nil }
    body()
  }

  fileprivate static var hasLock: Bool { bug != .noLock }

  /// The page that a thread has still to store; -1 if it has still to clear the number.
  private static let later = ModelThreadLocal(0)
  /// The number that a thread last read, and whether it has swapped the count since.
  private static let lastRead = ModelThreadLocal(0)
  private static let hasSwapped = ModelThreadLocal(0)

  /// Whether the value is a page and not a number. Frame numbers are smaller than every page.
  private static func isPage(_ value: some FixedWidthInteger) -> Bool {
    value != .max && value >= vmemmap_base
  }

  static func loaded<Value: FixedWidthInteger>(_ value: Value) -> Value {
    guard Value.self == UInt.self else { return value }
    if bug == .publishesAnyway && isPage(value) { return 0 }
    guard bug == .looksOnce else { return value }
    defer { hasSwapped.value = 0 }
    if hasSwapped.value == 1 { return Value(truncatingIfNeeded: lastRead.value) }
    lastRead.value = Int(truncatingIfNeeded: value)
    return value
  }

  static func swapped(_ exchanged: Bool) { hasSwapped.value = exchanged ? 1 : 0 }

  /// Whether the store is left out for now.
  static func defers<Value: FixedWidthInteger>(_ value: Value) -> Bool {
    guard Value.self == UInt.self else { return false }
    switch bug {
    case .countFirst where value != 0 && value != .max:
      if isPage(value) { later.value = Int(value) }
      return true
    case .clearedLate where value == .max:
      later.value = -1
      return true
    default: return false
    }
  }

  static func afterCount() {
    guard bug == .countFirst, let page = UnsafePointer<page>(bitPattern: later.value) else {
      return
    }
    Kernel.current.huge_zero_page.pointee.store(UInt64(later.value), .relaxed)
    Kernel.current.huge_zero_pfn.pointee.store(UInt64(hugezero_page_to_pfn(page)), .relaxed)
  }

  static func afterUnlock() {
    guard bug == .clearedLate, later.value == -1 else { return }
    later.value = 0
    Kernel.current.huge_zero_pfn.pointee.store(.max, .relaxed)
  }
}

public func spin_lock(
  _ lock: UnsafeMutablePointer<spinlock_t>, file: StaticString = #fileID, line: UInt = #line
) {
  if Planted.hasLock { Linux.spin_lock(lock, file: file, line: line) }
}

public func spin_unlock(
  _ lock: UnsafeMutablePointer<spinlock_t>, file: StaticString = #fileID, line: UInt = #line
) {
  if Planted.hasLock { Linux.spin_unlock(lock, file: file, line: line) }
  Planted.afterUnlock()
}

import Interleave

/// A bug put into the production sources at the seam, by name. The checker must find each.
public enum Plant: String, CaseIterable, Sendable {
  case none
  /// The publication of the zero page, and every other step of get, orders nothing.
  case relaxedGet
  /// put orders nothing: its reads of the page may come after the free.
  case relaxedPut
  /// Neither side of the grace period runs a barrier.
  case noFence
  /// Leaving a section orders nothing.
  case relaxedLeave
  /// History item 6: what was unmapped is given back before the readers have left.
  case noGracePeriod
  /// History item 2: entries are changed without the lock, and so without looking again.
  case noLock
  /// A table's entry is published before what it names.
  case relaxedEntry
  /// Dropping a reference orders nothing.
  case relaxedDrop
  /// Unlocking orders nothing.
  case relaxedUnlock

  func order(_ order: MemoryOrder, _ function: StaticString) -> Interleave.MemoryOrder {
    switch self {
    case .relaxedGet where isIn(function, "get"): .relaxed
    case .relaxedPut where isIn(function, "put"): .relaxed
    case .relaxedLeave where isIn(function, "leave"): .relaxed
    case .relaxedEntry where isIn(function, "set("): .relaxed
    case .relaxedDrop where isIn(function, "drop"): .relaxed
    case .relaxedUnlock where isIn(function, "unlock"): .relaxed
    default: order.model
    }
  }

  /// What a load returns instead of what is there.
  func value(_ function: StaticString) -> UInt64? {
    // Every slot looks as if its thread were outside.
    self == .noGracePeriod && isIn(function, "synchronize") ? 0 : nil
  }

  private func isIn(_ function: StaticString, _ name: String) -> Bool {
    function.withUTF8Buffer { $0.starts(with: name.utf8) }
  }
}

/// The bug of this run. Set between explorations only.
public nonisolated(unsafe) var plant = Plant.none

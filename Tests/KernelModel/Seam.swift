// SPDX-License-Identifier: GPL-2.0-only
//
// For tests only, and part of no product. AtomicWord.swift and KernelFrames.swift are links to
// Kernel/Module and GPL-2.0-only, and so is everything that is compiled together with them.
//
// A module's own declarations win over imported ones, so `Atomic` is here a word that the checker
// sees. The kernel itself is the module `Linux` (Tests/LinuxModel).
public import Interleave

public typealias MemoryOrder = Interleave.MemoryOrder

/// The orderings of `Synchronization`, in one type for all operations.
public enum AtomicOrdering {
  case relaxed, acquiring, releasing, acquiringAndReleasing

  var order: MemoryOrder {
    switch self {
    case .relaxed: .relaxed
    case .acquiring: .acquire
    case .releasing: .release
    case .acquiringAndReleasing: .acquireRelease
    }
  }
}

/// The part of `Synchronization.Atomic` that the production file uses, on one of the checker's
/// words, which lies at the same place in memory.
public struct Atomic<Value: FixedWidthInteger & UnsignedInteger>: ~Copyable {
  private let word: ModelWord

  public borrowing func load(
    ordering: AtomicOrdering, file: StaticString = #fileID, line: UInt = #line
  ) -> Value {
    Planted.loaded(Value(word.load(ordering.order, file: file, line: line)))
  }

  public borrowing func store(
    _ value: Value, ordering: AtomicOrdering, file: StaticString = #fileID, line: UInt = #line
  ) {
    if Planted.defers(value) { return }
    word.store(UInt64(value), ordering.order, file: file, line: line)
    if Value.self == UInt32.self { Planted.afterCount() }
  }

  /// In every scenario sums stay below 2³² and differences above 0, so nothing wraps.
  @discardableResult public borrowing func wrappingAdd(
    _ value: Value, ordering: AtomicOrdering, file: StaticString = #fileID, line: UInt = #line
  ) -> (oldValue: Value, newValue: Value) {
    let old = Value(word.add(UInt64(value), ordering.order, file: file, line: line))
    return (old, old + value)
  }

  @discardableResult public borrowing func wrappingSubtract(
    _ value: Value, ordering: AtomicOrdering, file: StaticString = #fileID, line: UInt = #line
  ) -> (oldValue: Value, newValue: Value) {
    let old = Value(word.subtract(UInt64(value), ordering.order, file: file, line: line))
    return (old, old - value)
  }

  public borrowing func compareExchange(
    expected: Value, desired: Value, ordering: AtomicOrdering,
    file: StaticString = #fileID, line: UInt = #line
  ) -> (exchanged: Bool, original: Value) {
    let swap = word.compareExchange(
      UInt64(expected), UInt64(desired), ordering.order, file: file, line: line)
    Planted.swapped(swap.exchanged)
    return (swap.exchanged, Value(swap.original))
  }
}

public import Synchronization

/// A 64-bit atomic: the seam between the lock-free protocols and the machine.
///
/// Every lock-free protocol of the package goes through this type and `fence()`, so that the
/// same source can be compiled against a model checker's atomics. The type has the layout of
/// `Atomic<UInt64>`, so it can overlay mapped memory.
@frozen public struct AtomicWord: ~Copyable, Sendable {
  @usableFromInline let storage: Atomic<UInt64>

  @inlinable @inline(__always) public init(_ value: UInt64) { storage = Atomic(value) }

  @inlinable @inline(__always)
  public borrowing func load(_ order: MemoryOrder) -> UInt64 {
    switch order {
    case .relaxed: storage.load(ordering: .relaxed)
    case .acquire: storage.load(ordering: .acquiring)
    default: storage.load(ordering: .sequentiallyConsistent)
    }
  }

  /// Loads the value only to test it. The model checker takes two values for one if they pass alike.
  @inlinable @inline(__always)
  public borrowing func test(_ order: MemoryOrder, _ passes: (UInt64) -> Bool) -> Bool {
    passes(load(order))
  }

  @inlinable @inline(__always)
  public borrowing func store(_ value: UInt64, _ order: MemoryOrder) {
    switch order {
    case .relaxed: storage.store(value, ordering: .relaxed)
    case .release: storage.store(value, ordering: .releasing)
    default: storage.store(value, ordering: .sequentiallyConsistent)
    }
  }

  /// Adds without checking for overflow: one `lock xadd`. Returns the previous value.
  @inlinable @inline(__always) @discardableResult
  public borrowing func add(_ value: UInt64, _ order: MemoryOrder) -> UInt64 {
    switch order {
    case .relaxed: storage.wrappingAdd(value, ordering: .relaxed).oldValue
    case .acquire: storage.wrappingAdd(value, ordering: .acquiring).oldValue
    case .release: storage.wrappingAdd(value, ordering: .releasing).oldValue
    case .acquireRelease: storage.wrappingAdd(value, ordering: .acquiringAndReleasing).oldValue
    case .sequential: storage.wrappingAdd(value, ordering: .sequentiallyConsistent).oldValue
    }
  }

  /// Subtracts without checking for underflow. Returns the previous value.
  @inlinable @inline(__always) @discardableResult
  public borrowing func subtract(_ value: UInt64, _ order: MemoryOrder) -> UInt64 {
    add(0 &- value, order)
  }

  /// Adds, and tests the previous value.
  @inlinable @inline(__always)
  public borrowing func addAndTest(
    _ value: UInt64, _ order: MemoryOrder, _ passes: (UInt64) -> Bool
  ) -> Bool {
    passes(add(value, order))
  }

  /// Subtracts, and tests the previous value.
  @inlinable @inline(__always)
  public borrowing func subtractAndTest(
    _ value: UInt64, _ order: MemoryOrder, _ passes: (UInt64) -> Bool
  ) -> Bool {
    passes(subtract(value, order))
  }

  /// Strong compare-and-swap. Returns whether it swapped, and the value found.
  @inlinable @inline(__always)
  public borrowing func compareExchange(
    _ expected: UInt64, _ desired: UInt64, _ order: MemoryOrder
  ) -> (exchanged: Bool, original: UInt64) {
    switch order {
    case .relaxed:
      storage.compareExchange(expected: expected, desired: desired, ordering: .relaxed)
    case .acquire:
      storage.compareExchange(expected: expected, desired: desired, ordering: .acquiring)
    case .release:
      storage.compareExchange(expected: expected, desired: desired, ordering: .releasing)
    case .acquireRelease:
      storage.compareExchange(
        expected: expected, desired: desired, ordering: .acquiringAndReleasing)
    case .sequential:
      storage.compareExchange(
        expected: expected, desired: desired, ordering: .sequentiallyConsistent)
    }
  }

  /// A sequentially consistent fence.
  @inlinable @inline(__always)
  public static func fence() { atomicMemoryFence(ordering: .sequentiallyConsistent) }
}

/// A pointer to an `AtomicWord`. Its owner keeps the memory mapped.
public typealias AtomicWordPointer = UnsafeMutablePointer<AtomicWord>

internal import Interleave

/// The ordering of an atomic load.
public struct AtomicLoadOrdering: Hashable, Sendable, CustomStringConvertible {
  let order: MemoryOrder

  /// Orders nothing.
  public static let relaxed = Self(order: .relaxed)
  /// What happened before the store that it reads, if that one releases, happened before what
  /// follows.
  public static let acquiring = Self(order: .acquire)
  /// Acquires, and takes part in the one order of all sequentially consistent operations.
  public static let sequentiallyConsistent = Self(order: .sequential)

  /// The name of the ordering.
  public var description: String { name(of: order) }
}

/// The ordering of an atomic store.
public struct AtomicStoreOrdering: Hashable, Sendable, CustomStringConvertible {
  let order: MemoryOrder

  /// Orders nothing.
  public static let relaxed = Self(order: .relaxed)
  /// What precedes it happened before what follows an acquiring load that reads it.
  public static let releasing = Self(order: .release)
  /// Releases, and takes part in the one order of all sequentially consistent operations.
  public static let sequentiallyConsistent = Self(order: .sequential)

  /// The name of the ordering.
  public var description: String { name(of: order) }
}

/// The ordering of an atomic operation that reads and writes, or of a fence.
public struct AtomicUpdateOrdering: Hashable, Sendable, CustomStringConvertible {
  let order: MemoryOrder

  /// Orders nothing.
  public static let relaxed = Self(order: .relaxed)
  /// Orders its load as `AtomicLoadOrdering.acquiring` does.
  public static let acquiring = Self(order: .acquire)
  /// Orders its store as `AtomicStoreOrdering.releasing` does.
  public static let releasing = Self(order: .release)
  /// Orders both its load and its store.
  public static let acquiringAndReleasing = Self(order: .acquireRelease)
  /// Orders both, and takes part in the one order of all sequentially consistent operations.
  public static let sequentiallyConsistent = Self(order: .sequential)

  /// The name of the ordering.
  public var description: String { name(of: order) }
}

private func name(of order: MemoryOrder) -> String {
  switch order {
  case .relaxed: "relaxed"
  case .acquire: "acquiring"
  case .release: "releasing"
  case .acquireRelease: "acquiringAndReleasing"
  case .sequential: "sequentiallyConsistent"
  }
}

/// A fence between atomic operations, as in `Synchronization`. A relaxed one does nothing.
public func atomicMemoryFence(
  ordering: AtomicUpdateOrdering, file: StaticString = #fileID, line: UInt = #line
) {
  guard ordering != .relaxed else { return }
  StandIn.fence(ordering.order, Site(file: file, line: line))
}

/// Ends a turn of a spin loop: the thread goes on when another turn can go differently.
///
/// `Synchronization` has no such function. A target that imports it needs one of this name, which
/// yields the processor or does nothing. Without it the checker would try every number of turns.
/// The retry loop of a compare-and-swap needs none, since a turn fails only if another thread
/// succeeded.
public func spinLoopHint(file: StaticString = #fileID, line: UInt = #line) {
  StandIn.pause(Site(file: file, line: line))
}

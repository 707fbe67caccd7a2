/// What a suspended thread will do next, in enough detail to decide whether two steps commute.
struct Operation {
  enum Kind: UInt8 {
    case start, load, store, modify, compareExchange, fence, processFence, pause, heap, lock
    case tryLock, unlock
    /// A write to a plain cell that survives a crash. Other plain accesses are no steps.
    case cell
  }

  var kind = Kind.start
  /// The location, the heap, the cell, or the thread that is made to fence.
  var object = 0
  var isWrite = false
  var isSequential = false
  /// Whether it orders all that the thread did before.
  var isRelease = false
  /// A hash of the value to be written and of the place in the source. A variable outside the model
  /// shows here first.
  var operand: UInt64 = 0
  /// Where the step is in the source, to tell where a crash stopped a thread.
  var site: Site?

  var hash: UInt64 { mix(UInt64(kind.rawValue) << 32 | UInt64(object), operand) }

  /// Whether the order of the next steps of two threads can matter. A wrong `true` costs time; a
  /// wrong `false` loses executions.
  func depends(on other: Operation, of thread: Int, by ownThread: Int) -> Bool {
    if kind == .processFence && object == thread { return true }
    if other.kind == .processFence && other.object == ownThread { return true }
    switch (kind, other.kind) {
    case (.start, _), (_, .start): return false
    case (.heap, _), (_, .heap): return kind == other.kind && object == other.object
    case (.cell, _), (_, .cell): return kind == other.kind && object == other.object
    // Any store may be the news that a spinning thread waits for.
    case (.pause, _), (_, .pause): return isWrite || other.isWrite
    // Both read and raise the one order of sequential operations.
    case (.fence, _), (_, .fence), (.processFence, _), (_, .processFence):
      return isSequential && other.isSequential
    default:
      return object == other.object
        && (isWrite || other.isWrite || isSequential && other.isSequential)
    }
  }
}

/// A set of threads of a scenario, by number.
struct ThreadSet: Equatable, Sequence {
  var bits: UInt8 = 0

  @inline(__always) init(bits: UInt8 = 0) { self.bits = bits }
  @inline(__always) init(_ thread: Int) { bits = 1 << UInt8(thread) }

  @inline(__always) var isEmpty: Bool { bits == 0 }
  @inline(__always) var first: Int { bits.trailingZeroBitCount }
  @inline(__always) func contains(_ thread: Int) -> Bool { bits >> UInt8(thread) & 1 != 0 }
  @inline(__always) mutating func insert(_ thread: Int) { bits |= 1 << UInt8(thread) }
  @inline(__always) mutating func remove(_ thread: Int) { bits &= ~(1 << UInt8(thread)) }
  @inline(__always) func union(_ other: Self) -> Self { Self(bits: bits | other.bits) }
  @inline(__always) func subtracting(_ other: Self) -> Self { Self(bits: bits & ~other.bits) }
  @inline(__always) func intersection(_ other: Self) -> Self { Self(bits: bits & other.bits) }

  struct Iterator: IteratorProtocol {
    fileprivate var rest: UInt8
    @inline(__always) mutating func next() -> Int? {
      guard rest != 0 else { return nil }
      defer { rest &= rest - 1 }
      return rest.trailingZeroBitCount
    }
  }
  @inline(__always) func makeIterator() -> Iterator { Iterator(rest: bits) }
}

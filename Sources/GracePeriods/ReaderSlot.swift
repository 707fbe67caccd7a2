public import CLinux

// What the grace period needs from the machine. The model checker's build replaces this file with
// its own.

/// The slot of the running thread.
@usableFromInline enum ReaderSlot {
  /// The number of slots. A thread keeps its slot until it ends; if none is left, a thread that
  /// enters its first section waits for one.
  @usableFromInline static let count = 8192
  /// Words from one slot to the next: a cache line, so that no two readers share one.
  @inlinable @inline(__always) static var stride: Int { 8 }

  /// Negative if the thread has no slot yet.
  @inlinable @inline(__always) static var current: Int32 { hm_get_reader_slot() }

  /// Gives the running thread a slot, which it keeps until it ends.
  static func assign(_ slot: Int32) {
    hm_set_reader_slot(slot) { GracePeriod.shared.releaseSlot($0) }
  }
}

/// A pair of barriers that puts the whole cost on one side.
@usableFromInline enum ExpeditedBarrier {
  /// Registers the process for it. Returns whether the system supports it.
  static func register() -> Bool { hm_membarrier_register() == 0 }

  /// Stops the compiler from moving accesses. `heavy` does the same for the processors.
  @inlinable @inline(__always) static func light() { hm_compiler_barrier() }

  /// A full barrier on every core that runs a thread of this process.
  static func heavy() { _ = hm_membarrier() }
}

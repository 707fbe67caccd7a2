public import CLinux

// What the grace period asks of the machine. The model checker's build has its own file in the
// place of this one.

/// The slot of the running thread.
@usableFromInline enum ReaderSlot {
  /// Threads that can be inside a section at once; one more waits for a slot.
  @usableFromInline static let count = 8192
  /// Words between two slots: a cache line, so that readers do not share one.
  @inlinable @inline(__always) static var stride: Int { 8 }

  /// Negative as long as the thread has none.
  @inlinable @inline(__always) static var current: Int32 { hm_get_reader_slot() }

  /// Gives the running thread a slot until it ends.
  static func assign(_ slot: Int32) {
    hm_set_reader_slot(slot) { GracePeriod.shared.releaseSlot($0) }
  }
}

/// A barrier whose cost is on one side.
@usableFromInline enum ExpeditedBarrier {
  /// Whether the system has it.
  static func register() -> Bool { hm_membarrier_register() == 0 }

  /// Keeps the compiler from moving accesses; the processors are stopped by `heavy`.
  @inlinable @inline(__always) static func light() { hm_compiler_barrier() }

  /// A full barrier on every core that runs a thread of this process.
  static func heavy() { _ = hm_membarrier() }
}

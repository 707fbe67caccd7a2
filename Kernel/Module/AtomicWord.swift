// SPDX-License-Identifier: GPL-2.0-only
//
// The atomics seam of this home: the zero page's one word, kept in the kernel's own variables.
//
// Other kernel code reads `huge_zero_page` and `huge_zero_pfn`, and while the patch is being
// enabled or disabled some tasks run the kernel's C and others our Swift. So there is no second
// word to be kept in step: the kernel's variables *are* the word, the lock that orders the C code
// orders us, and either side can take over at any time with the count alive.
//
//      count = huge_zero_refcount      frame = huge_zero_pfn      huge_zero_page = its struct page
//
//   word 0                     the count is 0; what the other variables hold is not looked at
//   0 → {frame, n}             under huge_zero_lock: page and pfn first, the count last (release)
//   {frame, 1} → 0             under huge_zero_lock: the count first, then page and pfn
//   {frame, n} → {frame, m}    one compare-and-swap of the count; no lock
//
// Whoever holds the lock sees page and count both set or both clear, and so nobody publishes
// between the two steps of an unpublication (history item 11: that was the kernel's bug, and a
// kernel without the lock is refused).
public import Linux
public import Synchronization

/// Where the running kernel keeps its huge zero page. Set once, before the patch is enabled.
@safe public struct KernelVariables {
  public let count: UnsafeMutablePointer<Atomic<UInt32>>
  public let page: UnsafeMutablePointer<Atomic<UInt>>
  public let frame: UnsafeMutablePointer<Atomic<UInt>>
  public let lock: UnsafeMutablePointer<spinlock_t>

  public init(
    count: UnsafeMutableRawPointer, page: UnsafeMutableRawPointer,
    frame: UnsafeMutableRawPointer, lock: UnsafeMutableRawPointer
  ) {
    // SAFETY: atomic_t is an int; the others are words; all are aligned and live as long as the
    // kernel does.
    unsafe self.count = count.assumingMemoryBound(to: Atomic<UInt32>.self)
    unsafe self.page = page.assumingMemoryBound(to: Atomic<UInt>.self)
    unsafe self.frame = frame.assumingMemoryBound(to: Atomic<UInt>.self)
    unsafe self.lock = lock.assumingMemoryBound(to: spinlock_t.self)
  }
}

/// (C) after module initialisation.
nonisolated(unsafe) public var kernelVariables: KernelVariables?

@frozen public struct AtomicWord: ~Copyable, Sendable {
  /// The word has the value that the kernel gave it.
  @inline(__always) public init(_ value: UInt64) {}

  @inline(__always) private var kernel: KernelVariables {
    // SAFETY: nothing calls this before module initialisation has found the variables.
    unsafe kernelVariables.unsafelyUnwrapped
  }

  @inline(__always) private func word(_ count: UInt32) -> UInt64 {
    // A frame that has just gone reads as another or as none; compareExchange finds out.
    count == 0 ? 0 : frame << 32 | UInt64(count)
  }

  /// Of 32 bits; see KernelFrames.swift.
  @inline(__always) private var frame: UInt64 {
    UInt64(UInt32(truncatingIfNeeded: unsafe kernel.frame.pointee.load(ordering: .relaxed)))
  }

  @inline(__always) public borrowing func load(_ order: MemoryOrder) -> UInt64 {
    // `acquiring` pairs with the `releasing` of publish: who sees the count sees the frame.
    word(unsafe kernel.count.pointee.load(ordering: .acquiring))
  }

  @inline(__always) @discardableResult
  public borrowing func add(_ value: UInt64, _ order: MemoryOrder) -> UInt64 {
    word(
      unsafe kernel.count.pointee.wrappingAdd(
        UInt32(truncatingIfNeeded: value), ordering: .acquiringAndReleasing
      ).oldValue)
  }

  @inline(__always) @discardableResult
  public borrowing func subtract(_ value: UInt64, _ order: MemoryOrder) -> UInt64 {
    // The frame is not read: it may be gone as soon as the reference is. Nobody asks for it.
    UInt64(
      unsafe kernel.count.pointee.wrappingSubtract(
        UInt32(truncatingIfNeeded: value), ordering: .acquiringAndReleasing
      ).oldValue)
  }

  /// `order` is always at least what was asked for: acquire and release cost nothing on x86.
  @inline(__always) public borrowing func compareExchange(
    _ expected: UInt64, _ desired: UInt64, _ order: MemoryOrder
  ) -> (exchanged: Bool, original: UInt64) {
    if expected == 0 { return publish(desired) }
    if desired == 0 { return unpublish(expected) }
    let seen = unsafe kernel.count.pointee.compareExchange(
      expected: UInt32(truncatingIfNeeded: expected),
      desired: UInt32(truncatingIfNeeded: desired), ordering: .acquiringAndReleasing)
    guard seen.exchanged else { return (false, word(seen.original)) }
    // The count was right; was it the count of this frame? The references just taken keep
    // whatever is published now where it is.
    let frame = self.frame
    if frame == expected >> 32 { return (true, expected) }
    // Freed and published again in between. What is given back is not the last reference, since
    // the shrinker has its own.
    subtract(desired &- expected, order)
    return (false, frame << 32 | UInt64(seen.original))
  }

  /// Off the fast path, and out of its registers.
  @inline(never) private borrowing func publish(
    _ desired: UInt64
  ) -> (exchanged: Bool, original: UInt64) {
    let kernel = self.kernel
    let frame = UInt(desired >> 32)
    unsafe spin_lock(kernel.lock)
    defer { unsafe spin_unlock(kernel.lock) }
    guard unsafe kernel.page.pointee.load(ordering: .relaxed) == 0 else {
      return (false, load(.acquire))
    }
    unsafe kernel.page.pointee.store(
      UInt(bitPattern: hugezero_pfn_to_page(frame)), ordering: .relaxed)
    unsafe kernel.frame.pointee.store(frame, ordering: .relaxed)
    // `releasing` pairs with the `acquiring` of load and compareExchange.
    unsafe kernel.count.pointee.store(UInt32(truncatingIfNeeded: desired), ordering: .releasing)
    return (true, 0)
  }

  @inline(never) private borrowing func unpublish(
    _ expected: UInt64
  ) -> (exchanged: Bool, original: UInt64) {
    let kernel = self.kernel
    unsafe spin_lock(kernel.lock)
    defer { unsafe spin_unlock(kernel.lock) }
    let frame = unsafe kernel.frame.pointee.load(ordering: .relaxed)
    guard UInt32(truncatingIfNeeded: frame) == UInt32(truncatingIfNeeded: expected >> 32) else {
      return (false, load(.acquire))
    }
    // `acquiring` pairs with the `releasing` of every put.
    let seen = unsafe kernel.count.pointee.compareExchange(
      expected: UInt32(truncatingIfNeeded: expected), desired: 0, ordering: .acquiringAndReleasing)
    guard seen.exchanged else { return (false, word(seen.original)) }
    unsafe kernel.page.pointee.store(0, ordering: .relaxed)
    unsafe kernel.frame.pointee.store(UInt.max, ordering: .relaxed)
    return (true, expected)
  }
}

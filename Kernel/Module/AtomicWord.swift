// SPDX-License-Identifier: GPL-2.0-only
//
// The atomics seam in the kernel. The zero page's one word is kept in the kernel's own variables.
//
// Other kernel code reads `huge_zero_page` and `huge_zero_pfn`. While the patch is being enabled or
// disabled, some tasks run the kernel's C and others our Swift. So there is no second word that
// would have to be kept in step: the kernel's variables *are* the word. The lock that orders the C
// code orders ours too. Either side can take over at any time and finds the count as it is.
//
//      count = huge_zero_refcount      frame = huge_zero_pfn      huge_zero_page = its struct page
//
//   word 0                     the count is 0; the other variables are not read
//   0 → {frame, n}             under huge_zero_lock: page and pfn first, the count last (release)
//   {frame, 1} → 0             under huge_zero_lock: the count first, then page and pfn
//   {frame, n} → {frame, m}    one compare-and-swap of the count; no lock
//
// A thread that holds the lock sees page and count either both set or both clear. So nobody
// publishes between the two steps of an unpublication. (History item 11: the kernel had this bug. A
// kernel without the lock is refused.)
public import Linux
public import Synchronization

/// The variables in which the running kernel keeps its huge zero page. Set once, before the patch
/// is enabled.
@safe public struct KernelVariables {
  public let count: UnsafeMutablePointer<Atomic<UInt32>>
  public let page: UnsafeMutablePointer<Atomic<UInt>>
  public let frame: UnsafeMutablePointer<Atomic<UInt>>
  public let lock: UnsafeMutablePointer<spinlock_t>

  public init(
    count: UnsafeMutableRawPointer, page: UnsafeMutableRawPointer,
    frame: UnsafeMutableRawPointer, lock: UnsafeMutableRawPointer
  ) {
    // SAFETY: atomic_t is an int and the others are words. All are aligned, and they live as long
    // as the kernel.
    unsafe self.count = count.assumingMemoryBound(to: Atomic<UInt32>.self)
    unsafe self.page = page.assumingMemoryBound(to: Atomic<UInt>.self)
    unsafe self.frame = frame.assumingMemoryBound(to: Atomic<UInt>.self)
    unsafe self.lock = lock.assumingMemoryBound(to: spinlock_t.self)
  }
}

/// (C) after module initialisation.
nonisolated(unsafe) public var kernelVariables: KernelVariables?

@frozen public struct AtomicWord: ~Copyable, Sendable {
  /// Ignores its argument: the word has the value that the kernel's variables hold.
  @inline(__always) public init(_ value: UInt64) {}

  @inline(__always) private var kernel: KernelVariables {
    // SAFETY: nothing calls this before module initialisation has set the variables.
    unsafe kernelVariables.unsafelyUnwrapped
  }

  @inline(__always) private func word(_ count: UInt32) -> UInt64 {
    // If the frame has just gone, this may read another frame or none. compareExchange notices
    // that.
    count == 0 ? 0 : frame << 32 | UInt64(count)
  }

  /// The frame number, which has 32 bits: see KernelFrames.swift.
  @inline(__always) private var frame: UInt64 {
    UInt64(UInt32(truncatingIfNeeded: unsafe kernel.frame.pointee.load(ordering: .relaxed)))
  }

  @inline(__always) public borrowing func load(_ order: MemoryOrder) -> UInt64 {
    // `acquiring` pairs with the `releasing` of publish: a thread that sees the count also sees the
    // frame.
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
    // The frame is not read: it may be gone as soon as the reference is. No caller uses it.
    UInt64(
      unsafe kernel.count.pointee.wrappingSubtract(
        UInt32(truncatingIfNeeded: value), ordering: .acquiringAndReleasing
      ).oldValue)
  }

  /// The order is always acquire and release, whatever the caller asks for: that costs nothing on
  /// x86.
  @inline(__always) public borrowing func compareExchange(
    _ expected: UInt64, _ desired: UInt64, _ order: MemoryOrder
  ) -> (exchanged: Bool, original: UInt64) {
    if expected == 0 { return publish(desired) }
    if desired == 0 { return unpublish(expected) }
    let seen = unsafe kernel.count.pointee.compareExchange(
      expected: UInt32(truncatingIfNeeded: expected),
      desired: UInt32(truncatingIfNeeded: desired), ordering: .acquiringAndReleasing)
    guard seen.exchanged else { return (false, word(seen.original)) }
    // The count was right, but was it the count of this frame? The references just taken keep
    // whatever page is published now.
    let frame = self.frame
    if frame == expected >> 32 { return (true, expected) }
    // The page was freed and another published in between. Give the references back. They are not
    // the last, since the shrinker has its own.
    subtract(desired &- expected, order)
    return (false, frame << 32 | UInt64(seen.original))
  }

  /// Not inlined, so that it costs the fast path no registers.
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

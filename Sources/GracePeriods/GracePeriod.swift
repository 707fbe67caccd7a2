#if INTERLEAVE
  public import Interleave
#else
  public import Primitives
#endif

/// An asymmetric RCU for user space. A reader announces itself with a plain store. A thread that
/// unmaps something waits until every reader that could still hold the old translation has left.
///
/// The kernel shoots down translations by interrupting every core. Here the waiting side does the
/// same with an expedited `membarrier(2)`, which runs a full barrier on every core that runs a
/// thread of this process, so `enter` needs no fence of its own. If the system call is missing,
/// `enter` has to run a fence.
///
/// Sections do not nest, and code inside a section must not wait for a grace period.
///
/// - Complexity: `enter` and `leave` are one store each. `synchronize` is O(threads that ever read)
///   plus one system call.
@safe public final class GracePeriod: @unchecked Sendable {
  // Sendable: it holds constant pointers to atomics.

  /// The one instance of the process. There is only one because slots belong to threads.
  public static let shared = GracePeriod(expedited: ExpeditedBarrier.register())

  /// (A) Counts the calls of `synchronize`. Starts at 1, because 0 in a slot means "outside".
  @usableFromInline let epoch = AtomicWord(1)
  /// (A) One slot per thread: 0 outside a section, otherwise the epoch in which the thread entered.
  @usableFromInline let slots: AtomicWordPointer
  /// (A) The number of slots ever assigned. All slots in use are below it.
  let highest = AtomicWord(0)
  /// (C) Whether the waiting side can use `membarrier`, so that readers need no fence.
  @usableFromInline let expedited: Bool

  /// Used for `shared`, and by the model checker, which makes a new instance for each execution.
  init(expedited: Bool) {
    unsafe slots = .allocate(capacity: ReaderSlot.count * ReaderSlot.stride)
    for index in 0..<ReaderSlot.count * ReaderSlot.stride {
      unsafe (slots + index).initialize(to: AtomicWord(0))
    }
    self.expedited = expedited
  }

  deinit { unsafe slots.deallocate() }

  /// Enters a section. What this thread loads from here on is not freed before it leaves.
  @inlinable @inline(__always)
  public func enter() -> Section {
    var slot = ReaderSlot.current
    if slot < 0 { slot = assignSlot() }
    let word = unsafe slots + Int(slot) * ReaderSlot.stride
    // `acquire` pairs with the `release` in synchronize: a reader that sees an epoch also sees what
    // was unmapped before it.
    // `release` pairs with the `acquire` in synchronize: a waiter that sees this section begun also
    // sees the earlier sections in this slot ended, even those of a thread that owned it before. (A
    // plain store would end the release sequence of `leave`.)
    unsafe word.pointee.store(epoch.load(.acquire), .release)
    // Pairs with the barrier in synchronize: either synchronize sees this store, or the loads
    // below see what was unmapped before synchronize.
    if expedited { ExpeditedBarrier.light() } else { AtomicWord.fence() }
    return unsafe Section(word: word)
  }

  /// A section in progress. End it with `leave()`, on the thread that entered it.
  @safe @frozen public struct Section: ~Copyable {
    @usableFromInline let word: AtomicWordPointer
    @inlinable @inline(__always)
    init(word: AtomicWordPointer) { unsafe self.word = word }
    /// Ends the section.
    @inlinable @inline(__always)
    public consuming func leave() {
      // `release` pairs with the `acquire` in synchronize: this section's reads come before the
      // free.
      unsafe word.pointee.store(0, .release)
    }
  }

  /// Waits until every section that was open at the call has ended. Never call this inside a
  /// section.
  public func synchronize() {
    let target = epoch.add(1, .acquireRelease) + 1
    if expedited { ExpeditedBarrier.heavy() } else { AtomicWord.fence() }
    let taken = Int(highest.load(.acquire))
    for index in 0..<taken {
      let word = unsafe slots + index * ReaderSlot.stride
      var wait = SpinWait()
      while true {
        let seen = unsafe word.pointee.load(.acquire)
        if seen == 0 || seen >= target || seen == Self.idle { break }
        wait.turn()
      }
    }
  }

  /// How often `synchronize` was called so far.
  public var count: UInt64 { epoch.load(.relaxed) - 1 }

  /// Marks a slot that belongs to no thread.
  private static let idle = UInt64.max

  @usableFromInline @inline(never)
  func assignSlot() -> Int32 {
    var wait = SpinWait()
    while true {
      let taken = Int(highest.load(.acquire))
      // Reuse a slot that an ended thread left behind before taking a new one.
      for index in 0..<taken {
        let word = unsafe slots + index * ReaderSlot.stride
        if unsafe word.pointee.load(.relaxed) == Self.idle,
          unsafe word.pointee.compareExchange(Self.idle, 0, .acquire).exchanged
        {
          return own(index)
        }
      }
      if taken < ReaderSlot.count {
        if highest.compareExchange(UInt64(taken), UInt64(taken + 1), .acquireRelease).exchanged {
          return own(taken)
        }
      } else {
        wait.turn()
      }
    }
  }

  private func own(_ index: Int) -> Int32 {
    ReaderSlot.assign(Int32(index))
    return Int32(index)
  }

  /// Called when the thread that owned the slot has ended: another thread may take it.
  func releaseSlot(_ slot: Int32) {
    unsafe slots[Int(slot) * ReaderSlot.stride].store(Self.idle, .release)
  }
}

#if INTERLEAVE
  public import Interleave
#else
  public import Primitives
#endif

/// Readers announce themselves with a plain store; whoever unmaps something waits until every
/// reader that could still hold the old translation has left. User space's RCU, asymmetric.
///
/// The kernel shoots translations down with interrupts to every core. Here the waiting side does
/// the same with an expedited `membarrier(2)`, which runs a full barrier on every core that runs
/// a thread of this process; so `enter` needs no fence of its own. Where the system call is
/// missing, `enter` pays for a fence.
///
/// Sections do not nest, and nothing inside a section may wait for a grace period.
///
/// - Complexity: enter and leave are one store each; `synchronize` is O(threads that ever read)
///   plus one system call.
@safe public final class GracePeriod: @unchecked Sendable {
  // Sendable: constant pointers to atomics.

  /// The process's own: slots belong to threads, and threads to the process.
  public static let shared = GracePeriod(expedited: ExpeditedBarrier.register())

  /// (A) Counts the grace periods asked for. Starts at 1: a slot of 0 is outside.
  @usableFromInline let epoch = AtomicWord(1)
  /// (A) Per thread: 0 outside, else the epoch in which it entered.
  @usableFromInline let slots: AtomicWordPointer
  /// (A) Slots are taken up to here.
  let highest = AtomicWord(0)
  /// (C) Whether the waiting side can pay with `membarrier`.
  @usableFromInline let expedited: Bool

  /// For `shared`, and for a model, which has one each time.
  init(expedited: Bool) {
    unsafe slots = .allocate(capacity: ReaderSlot.count * ReaderSlot.stride)
    for index in 0..<ReaderSlot.count * ReaderSlot.stride {
      unsafe (slots + index).initialize(to: AtomicWord(0))
    }
    self.expedited = expedited
  }

  deinit { unsafe slots.deallocate() }

  /// Enters a section: what this thread loads from here on stays until it leaves.
  @inlinable @inline(__always)
  public func enter() -> Section {
    var slot = ReaderSlot.current
    if slot < 0 { slot = assignSlot() }
    let word = unsafe slots + Int(slot) * ReaderSlot.stride
    // `acquire` pairs with the `release` in synchronize: an epoch seen is an unmapping seen.
    // `release` pairs with the `acquire` in synchronize: who sees this section begun sees the
    // sections before it in this slot ended, also those of a thread that had it before. (A plain
    // store would end the release sequence of `leave`.)
    unsafe word.pointee.store(epoch.load(.acquire), .release)
    // Pairs with the barrier in synchronize: either it sees this store, or the loads that
    // follow see what was unmapped before it.
    if expedited { ExpeditedBarrier.light() } else { AtomicWord.fence() }
    return unsafe Section(word: word)
  }

  /// A section in progress; leave it by `leave()`, on the thread that entered.
  @safe @frozen public struct Section: ~Copyable {
    @usableFromInline let word: AtomicWordPointer
    @inlinable @inline(__always)
    init(word: AtomicWordPointer) { unsafe self.word = word }
    /// Ends the section.
    @inlinable @inline(__always)
    public consuming func leave() {
      // `release` pairs with the `acquire` in synchronize: reads come before the free.
      unsafe word.pointee.store(0, .release)
    }
  }

  /// Returns when every section that was open at the call has ended. Never call it inside one.
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

  /// Marks a slot that belongs to no thread.
  private static let idle = UInt64.max

  @usableFromInline @inline(never)
  func assignSlot() -> Int32 {
    var wait = SpinWait()
    while true {
      let taken = Int(highest.load(.acquire))
      // A slot that an ended thread left behind, before a new one.
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

  /// The thread that owned the slot has ended; another may have it.
  func releaseSlot(_ slot: Int32) {
    unsafe slots[Int(slot) * ReaderSlot.stride].store(Self.idle, .release)
  }
}

public import CLinux
import Glibc
public import Primitives

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

  /// Threads that can be inside a section at once; one more waits for a slot.
  public let slotCount: Int
  /// Words between two slots: a cache line, so that readers do not share one.
  @usableFromInline static let stride = 8

  /// The process's own: slots belong to threads, and threads to the process.
  public static let shared = GracePeriod()

  /// (A) Counts the grace periods asked for. Starts at 1: a slot of 0 is outside.
  @usableFromInline let epoch = AtomicWord(1)
  /// (A) Per thread: 0 outside, else the epoch in which it entered.
  @usableFromInline let slots: AtomicWordPointer
  /// (A) Slots are taken up to here.
  let highest = AtomicWord(0)
  /// (C) Whether the waiting side can pay with `membarrier`.
  @usableFromInline let expedited: Bool

  init(slotCount: Int = 8192) {
    self.slotCount = slotCount
    unsafe slots = .allocate(capacity: slotCount * Self.stride)
    for index in 0..<slotCount {
      unsafe (slots + index * Self.stride).initialize(to: AtomicWord(0))
    }
    expedited = hm_membarrier_register() == 0
  }

  /// Enters a section: what this thread loads from here on stays until it leaves.
  @inlinable @inline(__always)
  public func enter() -> Section {
    var slot = hm_get_reader_slot()
    if slot < 0 { slot = assignSlot() }
    let word = unsafe slots + Int(slot) * Self.stride
    // `acquire` pairs with the `release` in synchronize: an epoch seen is an unmapping seen.
    unsafe word.pointee.store(epoch.load(.acquire), .relaxed)
    // Pairs with the barrier in synchronize: either it sees this store, or the loads that
    // follow see what was unmapped before it.
    if expedited { hm_compiler_barrier() } else { AtomicWord.fence() }
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
    if expedited { _ = hm_membarrier() } else { AtomicWord.fence() }
    let taken = Int(highest.load(.acquire))
    for index in 0..<taken {
      let word = unsafe slots + index * Self.stride
      var spins = 0
      while true {
        let seen = unsafe word.pointee.load(.acquire)
        if seen == 0 || seen >= target || seen == Self.idle { break }
        hm_relax()
        spins += 1
        if spins > 32 { sched_yield() }
      }
    }
  }

  /// Marks a slot that belongs to no thread.
  private static let idle = UInt64.max

  @usableFromInline @inline(never)
  func assignSlot() -> Int32 {
    while true {
      let taken = Int(highest.load(.acquire))
      // A slot that an ended thread left behind, before a new one.
      for index in 0..<taken {
        let word = unsafe slots + index * Self.stride
        if unsafe word.pointee.load(.relaxed) == Self.idle,
          unsafe word.pointee.compareExchange(Self.idle, 0, .acquire).exchanged
        {
          return own(index)
        }
      }
      if taken < slotCount {
        if highest.compareExchange(UInt64(taken), UInt64(taken + 1), .acquireRelease).exchanged {
          return own(taken)
        }
      } else {
        hm_relax()
        sched_yield()
      }
    }
  }

  private func own(_ index: Int) -> Int32 {
    hm_set_reader_slot(Int32(index)) { slot in
      let shared = GracePeriod.shared
      unsafe shared.slots[Int(slot) * GracePeriod.stride].store(GracePeriod.idle, .release)
    }
    return Int32(index)
  }
}

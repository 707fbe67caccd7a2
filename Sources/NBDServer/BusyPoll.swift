import CLinux
import Glibc
import Primitives

/// How long a connection looks for its next request before its thread sleeps.
///
/// To wake a thread takes 20 to 50 µs on a virtual machine, longer than a small request. So a
/// connection looks for a while first. How long follows from the last waits, as in KVM's halt polling
/// (`halt_poll_ns`): after a short wait it looks longer, after a long one for half as long, and then
/// not at all. So an idle connection costs nothing.
///
/// A thread that looks keeps a core busy. So at most one thread for each core but one looks at a time.
/// It offers its core to others all the time, and if one took it, does not look for a while.
struct BusyPoll: ~Copyable {
  /// In nanoseconds.
  static let shortest: UInt64 = 10_000
  /// Waits without a look after another thread had the core.
  static let pause = 64
  /// After a longer time between two looks, in nanoseconds, another thread may have had the core.
  private static let gap: UInt64 = 5_000

  /// (A) The threads that look now, in the whole process.
  private static let lookers = AtomicWord(0)
  private static let mostLookers = UInt64(max(0, hm_usable_cores() - 1))

  /// The longest time to look, in nanoseconds; 0 for never.
  private let longest: UInt64
  private(set) var window: UInt64 = 0
  private var paused = 0
  private var began: UInt64 = 0
  private var preemptions = 0

  init(longest: UInt64) { self.longest = longest }

  /// Calls `look` until it returns true or the time is over. Returns whether it returned true. If not,
  /// sleep until there is something, and then call `slept`.
  @inline(__always)
  mutating func look(_ look: () -> Bool) -> Bool {
    guard longest > 0 else { return false }
    began = monotonicTime()
    guard window > 0, mayLook() else { return false }
    defer { Self.lookers.subtract(1, .relaxed) }
    var last = began
    while true {
      if look() { return true }
      let now = monotonicTime()
      if now - began >= window { return false }
      if now - last > Self.gap, wasPreempted() {
        paused = Self.pause
        return false
      }
      last = now
      // Another thread that waits for this core gets it.
      sched_yield()
    }
  }

  private mutating func mayLook() -> Bool {
    if paused > 0 {
      paused -= 1
      return false
    }
    if Self.lookers.add(1, .relaxed) < Self.mostLookers { return true }
    Self.lookers.subtract(1, .relaxed)
    return false
  }

  /// Whether another thread has had the core since the last call. Time that the host of a virtual
  /// machine takes does not count.
  private mutating func wasPreempted() -> Bool {
    let before = preemptions
    preemptions = hm_preemptions()
    return preemptions > before
  }

  /// The thread has slept until there was something.
  mutating func slept() {
    if longest > 0 { adjust(to: monotonicTime() - began) }
  }

  /// Chooses the next window after a wait of so many nanoseconds.
  mutating func adjust(to wait: UInt64) {
    if wait < longest {
      window = min(longest, max(Self.shortest, 2 * window))
    } else {
      window = window > Self.shortest ? window / 2 : 0
    }
  }
}

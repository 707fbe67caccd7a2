import CLinux
import Primitives

/// Event counters under the kernel's names (`/proc/vmstat`). The fast paths count nothing. Faults
/// do, and with one word for each counter the faults of many threads would contend for its cache
/// line. So each counter is a sum over stripes, as the kernel's are sums over cores.
@safe final class Counters: @unchecked Sendable {
  // Sendable: a constant pointer to atomics.

  /// The number of stripes. With more threads than stripes, threads share one, so its words are
  /// atomic.
  private static let stripes = 16
  /// Words from one stripe to the next; they fill whole cache lines.
  private static let stride = 32

  private let words: AtomicWordPointer

  init() {
    let count = Self.stripes * Self.stride
    let bytes = count * MemoryLayout<AtomicWord>.stride
    let raw = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 64)
    unsafe words = raw.bindMemory(to: AtomicWord.self, capacity: count)
    for index in 0..<count { unsafe (words + index).initialize(to: AtomicWord(0)) }
  }

  deinit { unsafe UnsafeMutableRawPointer(words).deallocate() }

  /// One of the counters: its word in each stripe.
  @safe struct Counter {
    fileprivate let words: AtomicWordPointer

    @inline(__always)
    func count(_ events: Int = 1) {
      // The reader's slot identifies the thread without a system call. A thread without a slot has
      // -1, which is the last stripe.
      let stripe = Int(hm_get_reader_slot()) & (Counters.stripes - 1)
      unsafe words[stripe * Counters.stride].add(UInt64(events), .relaxed)
    }

    var value: UInt64 {
      var sum: UInt64 = 0
      for stripe in 0..<Counters.stripes {
        sum &+= unsafe words[stripe * Counters.stride].load(.relaxed)
      }
      return sum
    }
  }

  @inline(__always)
  private func counter(_ index: Int) -> Counter { unsafe Counter(words: words + index) }

  var fault: Counter { @inline(__always) get { counter(0) } }
  var faultAlloc: Counter { counter(1) }
  var faultFallback: Counter { counter(2) }
  var zeroPageAlloc: Counter { counter(3) }
  var zeroPageAllocFailed: Counter { counter(4) }
  var zeroPageFree: Counter { counter(5) }
  var splitPage: Counter { counter(6) }
  var splitPMD: Counter { counter(7) }
  var collapseAlloc: Counter { counter(8) }
  var deferredSplit: Counter { counter(9) }
  var underusedSplit: Counter { counter(10) }
  var forks: Counter { counter(11) }
  var copyOnWrite: Counter { counter(12) }
  var tableCopies: Counter { counter(13) }
  var tableAlloc: Counter { counter(14) }
  var tableFree: Counter { counter(15) }
  /// Forks that were made, and forks that are gone.
  var forkBorn: Counter { counter(16) }
  var forkGone: Counter { counter(17) }
  var pgscanKswapd: Counter { counter(18) }
  var pgscanDirect: Counter { counter(19) }
  var pgstealKswapd: Counter { counter(20) }
  var pgstealDirect: Counter { counter(21) }
  var allocstall: Counter { counter(22) }
  var zeroRevoke: Counter { counter(23) }
  var zeroReclaim: Counter { counter(24) }
  var equalReclaim: Counter { counter(25) }

  /// How many there are now: the difference of two counters.
  var tables: Int { Int(truncatingIfNeeded: tableAlloc.value &- tableFree.value) }
  var liveForks: Int { Int(truncatingIfNeeded: forkBorn.value &- forkGone.value) }

  /// Huge frames taken so far, by faults and by collapse.
  var hugeFrames: UInt64 { faultAlloc.value &+ collapseAlloc.value }

  /// All counters by name. Each value is exact once the threads that count are at rest.
  var all: [(name: String, value: UInt64)] {
    [
      ("pgfault", fault.value),
      ("thp_fault_alloc", faultAlloc.value),
      ("thp_fault_fallback", faultFallback.value),
      ("thp_zero_page_alloc", zeroPageAlloc.value),
      ("thp_zero_page_alloc_failed", zeroPageAllocFailed.value),
      // The kernel has neither: it does not count the frees, and it cannot revoke the page.
      ("thp_zero_page_free", zeroPageFree.value),
      ("thp_zero_page_revoke", zeroRevoke.value),
      ("thp_split_page", splitPage.value),
      ("thp_split_pmd", splitPMD.value),
      ("thp_deferred_split_page", deferredSplit.value),
      ("thp_underused_split_page", underusedSplit.value),
      ("thp_collapse_alloc", collapseAlloc.value),
      ("allocstall", allocstall.value),
      ("pgscan_kswapd", pgscanKswapd.value),
      ("pgscan_direct", pgscanDirect.value),
      ("pgsteal_kswapd", pgstealKswapd.value),
      ("pgsteal_direct", pgstealDirect.value),
      // Found by the scans: pages of zeros, and pages that equal their origin's.
      ("zero_scan_page", zeroReclaim.value),
      ("equal_scan_page", equalReclaim.value),
      ("fork", forks.value),
      ("cow_page", copyOnWrite.value),
      ("cow_table", tableCopies.value),
    ]
  }
}

/// A count of changes. The model checker's build leaves it out, as it does counters.
typealias ChangeWord = AtomicWord

import Primitives

/// Event counters under the kernel's names (`/proc/vmstat`). Each is one `lock xadd` on a rare
/// path; the fast paths count nothing.
final class Counters: Sendable {
  let faultAlloc = AtomicWord(0)
  let faultFallback = AtomicWord(0)
  let zeroPageAlloc = AtomicWord(0)
  let zeroPageAllocFailed = AtomicWord(0)
  let zeroPageFree = AtomicWord(0)
  let splitPage = AtomicWord(0)
  let splitPMD = AtomicWord(0)
  let fault = AtomicWord(0)
  let copyOnWrite = AtomicWord(0)
  let tableCopies = AtomicWord(0)
  let forks = AtomicWord(0)

  var all: [(name: String, value: UInt64)] {
    [
      ("pgfault", fault.load(.relaxed)),
      ("thp_fault_alloc", faultAlloc.load(.relaxed)),
      ("thp_fault_fallback", faultFallback.load(.relaxed)),
      ("thp_zero_page_alloc", zeroPageAlloc.load(.relaxed)),
      ("thp_zero_page_alloc_failed", zeroPageAllocFailed.load(.relaxed)),
      // Not the kernel's: it does not count the frees.
      ("thp_zero_page_free", zeroPageFree.load(.relaxed)),
      ("thp_split_page", splitPage.load(.relaxed)),
      ("thp_split_pmd", splitPMD.load(.relaxed)),
      ("fork", forks.load(.relaxed)),
      ("cow_page", copyOnWrite.load(.relaxed)),
      ("cow_table", tableCopies.load(.relaxed)),
    ]
  }
}

extension AtomicWord {
  @inline(__always) borrowing func count() { add(1, .relaxed) }
}

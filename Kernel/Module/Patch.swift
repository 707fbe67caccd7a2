// SPDX-License-Identifier: GPL-2.0-only
//
// The four functions of mm/huge_memory.c that the live patch replaces. As in the kernel since
// 2016, a process holds one reference, whatever it maps: a flag of its mm says so, which a fork
// does not inherit (history items 8 and 8b), and the kernel calls put once, when the mm dies.
import HugeZeroPage
import Linux
import Primitives
import Synchronization

/// For `mm_get_huge_zero_page`: on each read fault of huge, untouched memory.
@c(hugezero_get) public func get(
  _ mm: UnsafeMutablePointer<mm_struct>
) -> UnsafeMutablePointer<page>? {
  unsafe hugezero_test_flag(mm) ? published() : take(mm)
}

/// Once a process, and out of the other path's registers.
@inline(never) private func take(
  _ mm: UnsafeMutablePointer<mm_struct>
) -> UnsafeMutablePointer<page>? {
  let frame: UInt32
  switch HugeZeroPage().get(from: GetterFrames()) {
  case .shared(let shared):
    frame = shared
  case .published(let fresh):
    // Counted when published, not when allocated (item 22).
    count_vm_event(THP_ZERO_PAGE_ALLOC)
    hugezero_count_allocations()
    frame = fresh
  case .unavailable:
    count_vm_event(THP_ZERO_PAGE_ALLOC_FAILED)
    hugezero_count_failures()
    return nil
  }
  hugezero_count_gets()
  // Another thread of this process got one at the same time: one of the two goes back.
  if unsafe hugezero_test_and_set_flag(mm) { putReference() }
  return unsafe hugezero_pfn_to_page(UInt(frame))
}

/// For `mm_put_huge_zero_page`: the last thing that happens to an mm.
@c(hugezero_put) public func put(_ mm: UnsafeMutablePointer<mm_struct>) {
  if unsafe hugezero_test_flag(mm) { putReference() }
}

@inline(__always) private func putReference() {
  HugeZeroPage().put()
  hugezero_count_puts()
}

/// The page that the caller's reference keeps: what the rest of the kernel reads, so one load.
@inline(__always) private func published() -> UnsafeMutablePointer<page>? {
  unsafe UnsafeMutablePointer(
    bitPattern: kernelVariables.unsafelyUnwrapped.page.pointee.load(ordering: .relaxed))
}

/// For `shrink_huge_zero_page_count`, in 4 KiB pages.
@c(hugezero_shrinker_count) public func shrinkerCount(
  _: UnsafeMutablePointer<shrinker>, _: UnsafeMutablePointer<shrink_control>
) -> UInt {
  UInt(HugeZeroPage().shrinkerCount()) &* hugezero_pages()
}

/// For `shrink_huge_zero_page_scan`, in 4 KiB pages.
@c(hugezero_shrinker_scan) public func shrinkerScan(
  _: UnsafeMutablePointer<shrinker>, _: UnsafeMutablePointer<shrink_control>
) -> UInt {
  UInt(HugeZeroPage().shrinkerScan(to: ShrinkerFrames())) &* hugezero_pages()
}

// SPDX-License-Identifier: GPL-2.0-only
//
// The four functions that replace those of mm/huge_memory.c. As in the kernel since 2016, a process
// holds at most one reference, however much it maps. A flag of its mm records that. A fork does not
// inherit the flag (history items 8 and 8b). The kernel calls put once, when the mm is destroyed.
import HugeZeroPage
import Linux
import Primitives
import Synchronization

/// Replaces `mm_get_huge_zero_page`. Called on each read fault of huge, untouched memory.
@c(hugezero_get) public func get(
  _ mm: UnsafeMutablePointer<mm_struct>
) -> UnsafeMutablePointer<page>? {
  unsafe hugezero_test_flag(mm) ? published() : take(mm)
}

/// Takes the process's reference, which happens once. Not inlined, so that it costs the other path
/// no registers.
@inline(never) private func take(
  _ mm: UnsafeMutablePointer<mm_struct>
) -> UnsafeMutablePointer<page>? {
  let frame: UInt32
  switch HugeZeroPage().get(from: GetterFrames()) {
  case .shared(let shared):
    frame = shared
  case .published(let fresh):
    // Counted when the page is published, not when it is allocated (item 22).
    count_vm_event(THP_ZERO_PAGE_ALLOC)
    hugezero_count_allocations()
    frame = fresh
  case .unavailable:
    count_vm_event(THP_ZERO_PAGE_ALLOC_FAILED)
    hugezero_count_failures()
    return nil
  }
  hugezero_count_gets()
  // If another thread of this process took one at the same time, one of the two goes back.
  if unsafe hugezero_test_and_set_flag(mm) { putReference() }
  return unsafe hugezero_pfn_to_page(UInt(frame))
}

/// Replaces `mm_put_huge_zero_page`. Called when an mm is destroyed.
@c(hugezero_put) public func put(_ mm: UnsafeMutablePointer<mm_struct>) {
  if unsafe hugezero_test_flag(mm) { putReference() }
}

@inline(__always) private func putReference() {
  HugeZeroPage().put()
  hugezero_count_puts()
}

/// The page that the caller's reference keeps published. One load of the variable that the rest of
/// the kernel reads.
@inline(__always) private func published() -> UnsafeMutablePointer<page>? {
  unsafe UnsafeMutablePointer(
    bitPattern: kernelVariables.unsafelyUnwrapped.page.pointee.load(ordering: .relaxed))
}

/// Replaces `shrink_huge_zero_page_count`. The result is in 4 KiB pages.
@c(hugezero_shrinker_count) public func shrinkerCount(
  _: UnsafeMutablePointer<shrinker>, _: UnsafeMutablePointer<shrink_control>
) -> UInt {
  UInt(HugeZeroPage().shrinkerCount()) &* hugezero_pages()
}

/// Replaces `shrink_huge_zero_page_scan`. The result is in 4 KiB pages.
@c(hugezero_shrinker_scan) public func shrinkerScan(
  _: UnsafeMutablePointer<shrinker>, _: UnsafeMutablePointer<shrink_control>
) -> UInt {
  UInt(HugeZeroPage().shrinkerScan(to: ShrinkerFrames())) &* hugezero_pages()
}

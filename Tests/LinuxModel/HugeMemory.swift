// SPDX-License-Identifier: GPL-2.0-only
//
// The kernel's own functions of Linux 6.1.192, with the fix of August 2026, statement by statement.
// Tasks run them before the live patch has reached them and after it has left them.
//
// The memory orders are those of x86-64, where this runs: a store releases, a load acquires, and a
// read-modify-write does both. The C language alone would not order the count after the page.
public import Interleave

extension Kernel {
  /// `get_huge_zero_page`, which the kernel inlines into `mm_get_huge_zero_page`. Takes a
  /// reference, without the process's flag.
  public func get_huge_zero_page() -> UnsafeMutablePointer<page>? {
    guard takeReference() else { return nil }
    return UnsafeMutablePointer(bitPattern: UInt(huge_zero_page.pointee.load(.acquire)))
  }

  private func takeReference() -> Bool {
    // atomic_inc_not_zero
    var seen = huge_zero_refcount.pointee.load(.acquire)
    while seen != 0 {
      let swap = huge_zero_refcount.pointee.compareExchange(seen, seen + 1, .acquireRelease)
      if swap.exchanged { return true }
      seen = swap.original
    }
    guard let zero_page = alloc_pages(hugezero_gfp(), hugezero_order()) else { return false }
    spin_lock(huge_zero_lock)
    guard huge_zero_page.pointee.load(.acquire) == 0 else {
      huge_zero_refcount.pointee.add(1, .acquireRelease)
      spin_unlock(huge_zero_lock)
      __free_pages(zero_page, hugezero_order())
      return true
    }
    huge_zero_page.pointee.store(UInt64(UInt(bitPattern: zero_page)), .release)
    huge_zero_pfn.pointee.store(UInt64(hugezero_page_to_pfn(zero_page)), .release)
    huge_zero_refcount.pointee.store(2, .release)
    spin_unlock(huge_zero_lock)
    return true
  }

  public func put_huge_zero_page() {
    check(huge_zero_refcount.pointee.subtract(1, .acquireRelease) > 1, "put reached 0")
  }

  public func shrink_huge_zero_page_scan() {
    spin_lock(huge_zero_lock)
    guard huge_zero_refcount.pointee.compareExchange(1, 0, .acquireRelease).exchanged else {
      spin_unlock(huge_zero_lock)
      return
    }
    let zero_page = UnsafeMutablePointer<page>(
      bitPattern: UInt(huge_zero_page.pointee.load(.acquire)))
    huge_zero_page.pointee.store(0, .release)
    huge_zero_pfn.pointee.store(.max, .release)
    spin_unlock(huge_zero_lock)
    check(zero_page != nil, "BUG_ON(zero_page == NULL)")
    if let zero_page { __free_pages(zero_page, hugezero_order()) }
  }

  /// `is_huge_zero_page` and `is_huge_zero_pmd`. The caller holds a reference, which keeps the
  /// page.
  public func isZeroPage(_ frame: UInt32) -> Bool {
    huge_zero_pfn.pointee.load(.relaxed) == UInt64(frame)
      && huge_zero_page.pointee.load(.relaxed)
        == UInt64(UInt(bitPattern: hugezero_pfn_to_page(UInt(frame))))
  }
}

// SPDX-License-Identifier: GPL-2.0-only
//
// Gives the core frames of the kernel. A frame is a page frame number.
import HugeZeroPage
import Linux

/// The kernel's page allocator, for the getters.
struct GetterFrames: ZeroFrameSource {
  func allocateZeroFrame() -> UInt32? {
    guard let page = unsafe alloc_pages(hugezero_gfp(), hugezero_order()) else { return nil }
    // The core's frame numbers have 32 bits, which covers 16 TiB. Memory beyond that cannot be the
    // zero page. Frame 0 cannot be it either, but the kernel never hands that out.
    guard let frame = unsafe UInt32(exactly: hugezero_page_to_pfn(page)), frame != 0 else {
      unsafe __free_pages(page, hugezero_order())
      return nil
    }
    return frame
  }

  /// Frees the frame of a getter that lost the race: another had published its page first.
  func freeZeroFrame(_ frame: UInt32) {
    hugezero_count_lost_races()
    free(frame)
  }
}

/// The kernel's page allocator, for the shrinker, which never allocates.
struct ShrinkerFrames: ZeroFrameSource {
  func allocateZeroFrame() -> UInt32? { nil }
  func freeZeroFrame(_ frame: UInt32) {
    hugezero_count_frees()
    free(frame)
  }
}

// Frees a page with the order it was allocated with (history item 1).
@inline(__always) private func free(_ frame: UInt32) {
  unsafe __free_pages(hugezero_pfn_to_page(UInt(frame)), hugezero_order())
}

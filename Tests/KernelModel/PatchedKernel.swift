// SPDX-License-Identifier: GPL-2.0-only
import Interleave
import Linux

/// A kernel with the live patch, in which a task runs the old code or the new.
public final class PatchedKernel {
  /// Which code a task runs: the patch's Swift or the kernel's C.
  public enum Code: Sendable { case swift, c }

  private let kernel: Kernel
  private let zeroPage = HugeZeroPage()

  public init(frames: Int) {
    kernel = Kernel(frames: frames)
    Kernel.current = kernel
    kernelVariables = KernelVariables(
      count: kernel.huge_zero_refcount, page: kernel.huge_zero_page,
      frame: kernel.huge_zero_pfn, lock: kernel.huge_zero_lock)
  }

  public func get(_ code: Code) -> UInt32? {
    switch code {
    case .c: return kernel.get_huge_zero_page().map { UInt32(hugezero_page_to_pfn($0)) }
    case .swift:
      switch zeroPage.get(from: GetterFrames()) {
      case .shared(let frame), .published(let frame): return frame
      case .unavailable: return nil
      }
    }
  }

  public func put(_ code: Code) {
    if code == .c { kernel.put_huge_zero_page() } else { zeroPage.put() }
  }

  public func shrink(_ code: Code) {
    if code == .c {
      kernel.shrink_huge_zero_page_scan()
    } else {
      _ = zeroPage.shrinkerScan(to: ShrinkerFrames())
    }
  }

  /// Does what a holder of a reference may do, and other code of the kernel on its behalf.
  public func use(_ frame: UInt32) {
    check(kernel.isZeroPage(frame), "the zero page is taken for ordinary memory")
    check(kernel.memory.load(frame) == 0, "the zero page is not zero")
  }

  public func checkAtRest() {
    let count = kernel.huge_zero_refcount.pointee.load(.relaxed)
    let number = kernel.huge_zero_pfn.pointee.load(.relaxed)
    check(count <= 1, "count \(count) without holders")
    check(kernel.memory.liveCount == Int(count), "a frame leaked")
    if count == 0 {
      check(number == .max && kernel.huge_zero_page.pointee.load(.relaxed) == 0, "no page")
    } else {
      check(kernel.isZeroPage(UInt32(truncatingIfNeeded: number)), "page and number differ")
    }
  }
}

// SPDX-License-Identifier: GPL-2.0-only
//
// The model checker's version of what the live patch's files use from the kernel's headers: the
// variables of the zero page, a spin lock, and frames with the allocator's functions.
public import Interleave

/// The kernel of one execution, with the variables of mm/huge_memory.c.
public final class Kernel {
  /// The kernel of the running scenario. Scenarios with a kernel run one at a time.
  public nonisolated(unsafe) static var current: Kernel!

  public let huge_zero_refcount = variable(0, "huge_zero_refcount")
  public let huge_zero_page = variable(0, "huge_zero_page")
  public let huge_zero_pfn = variable(.max, "huge_zero_pfn")
  public let huge_zero_lock: UnsafeMutablePointer<spinlock_t>
  public let memory: ModelHeap

  public init(frames: Int) {
    memory = ModelHeap(capacity: frames)
    huge_zero_lock = .allocate(capacity: 1)
    huge_zero_lock.initialize(to: spinlock_t(name: "huge_zero_lock"))
  }

  deinit {
    for variable in [huge_zero_refcount, huge_zero_page, huge_zero_pfn] { variable.deallocate() }
    huge_zero_lock.deallocate()
  }

  private static func variable(_ value: UInt64, _ name: String) -> UnsafeMutablePointer<ModelWord> {
    let variable = UnsafeMutablePointer<ModelWord>.allocate(capacity: 1)
    variable.initialize(to: ModelWord(value, name: name))
    return variable
  }
}

// MARK: Locks

public struct spinlock_t: ~Copyable {
  let lock: ModelLock
  init(name: String) {
    lock = ModelLock(name: name)
    // It guards nothing but words.
    lock.guards { 0 }
  }
}

public func spin_lock(
  _ lock: UnsafeMutablePointer<spinlock_t>, file: StaticString = #fileID, line: UInt = #line
) {
  lock.pointee.lock.lock(file: file, line: line)
}

public func spin_unlock(
  _ lock: UnsafeMutablePointer<spinlock_t>, file: StaticString = #fileID, line: UInt = #line
) {
  lock.pointee.lock.unlock(file: file, line: line)
}

// MARK: Frames

/// A page descriptor of 64 bytes. Its address says which page it is.
public struct page { let words: InlineArray<8, UInt> }

/// Greater than every frame number.
public let vmemmap_base: UInt = 1 << 20

public func hugezero_pfn_to_page(_ pfn: UInt) -> UnsafeMutablePointer<page>! {
  UnsafeMutablePointer(bitPattern: vmemmap_base + pfn * UInt(MemoryLayout<page>.stride))
}

public func hugezero_page_to_pfn(_ page: UnsafePointer<page>) -> UInt {
  (UInt(bitPattern: page) - vmemmap_base) / UInt(MemoryLayout<page>.stride)
}

public func hugezero_gfp() -> UInt32 { 0 }
public func hugezero_order() -> UInt32 { 9 }

/// Allocates huge pages only.
public func alloc_pages(
  _: UInt32, _ order: UInt32, file: StaticString = #fileID, line: UInt = #line
) -> UnsafeMutablePointer<page>? {
  check(order == hugezero_order(), "allocated with order \(order)", file: file, line: line)
  return Kernel.current.memory.allocate(file: file, line: line).map {
    hugezero_pfn_to_page(UInt($0))
  }
}

public func __free_pages(
  _ page: UnsafeMutablePointer<page>, _ order: UInt32,
  file: StaticString = #fileID, line: UInt = #line
) {
  check(order == hugezero_order(), "freed with order \(order)", file: file, line: line)
  Kernel.current.memory.free(UInt32(hugezero_page_to_pfn(page)), file: file, line: line)
}

/// Statistics do nothing here, since no protocol depends on them.
public func hugezero_count_lost_races() {}
public func hugezero_count_frees() {}

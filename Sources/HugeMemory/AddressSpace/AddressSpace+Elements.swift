#if !INTERLEAVE
  public import Frames
  public import Glibc
  public import GracePeriods
  public import Paging
#endif

// Values that lie within one page, as those of arrays do. What `read` and `write` do for any range
// at the cost of some tens of nanoseconds, these do for one value at the cost of a walk. They are
// inlined into the loops of whoever uses an array: there the processor has many of them in flight,
// and each instruction less is room for another cache miss.
extension AddressSpace {
  /// Copies a value of `size` bytes out. The caller has checked that it lies within the space and
  /// within one page, and the space has no mappings. Untouched memory reads as zeros, and no page
  /// is mapped for it.
  @inlinable @inline(__always)
  package func loadWithinPage(
    at offset: UInt64, into target: UnsafeMutableRawPointer, size: Int
  ) {
    let section = grace.enter()
    if let page = unsafe mapped(offset, toWrite: false) {
      unsafe Self.copyValue(to: target, from: page, size)
    } else {
      unsafe memset(target, 0, size)
    }
    section.leave()
  }

  /// Copies a value in where that needs no fault; false if it does. As `loadWithinPage` otherwise.
  @inlinable @inline(__always)
  package func storeWithinPage(at offset: UInt64, from source: UnsafeRawPointer, size: Int) -> Bool
  {
    let section = grace.enter()
    let page = unsafe mapped(offset, toWrite: true)
    if let page = unsafe page { unsafe Self.copyValue(to: page, from: source, size) }
    section.leave()
    return unsafe page != nil
  }

  /// Within a section: where the byte at `offset` is.
  @inlinable @inline(__always)
  package func mapped(_ offset: UInt64, toWrite: Bool) -> UnsafeMutableRawPointer? {
    let found = slot(offset)
    guard !toWrite || found.exclusive && found.entry.isWritable else { return nil }
    if found.entry.kind == .huge {
      return unsafe arena.address(found.entry.frame)
        + Int(truncatingIfNeeded: offset & UInt64(FrameGeometry.hugeSize - 1))
    }
    guard found.entry.kind == .table else { return nil }
    let entry = Table(found.entry.frame, in: arena)[Radix.index(offset, 1)]
    guard entry.kind == .small, !toWrite || entry.isWritable else { return nil }
    return unsafe arena.address(entry.frame)
      + Int(truncatingIfNeeded: offset & UInt64(FrameGeometry.frameSize - 1))
  }

  /// One instruction for the sizes of numbers, where a call of `memcpy` would cost more than the
  /// copy.
  @inlinable @inline(__always)
  package static func copyValue(
    to target: UnsafeMutableRawPointer, from source: UnsafeRawPointer, _ size: Int
  ) {
    switch size {
    case 8: unsafe target.storeBytes(of: source.loadUnaligned(as: UInt64.self), as: UInt64.self)
    case 4: unsafe target.storeBytes(of: source.loadUnaligned(as: UInt32.self), as: UInt32.self)
    case 2: unsafe target.storeBytes(of: source.loadUnaligned(as: UInt16.self), as: UInt16.self)
    case 1: unsafe target.storeBytes(of: source.loadUnaligned(as: UInt8.self), as: UInt8.self)
    default: unsafe memcpy(target, source, size)
    }
  }
}

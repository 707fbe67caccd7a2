public import HugeMemory
public import Primitives

// Moving the window, and elements outside of it. What changes a storage may be called only while
// one array refers to it.
extension Storage {
  /// Whether the window has an element.
  @inlinable @inline(__always)
  func hasInPlace(_ index: Int) -> Bool {
    unsafe UInt(bitPattern: index &- window.start) < UInt(bitPattern: window.count)
  }

  /// The address of an element that the window has.
  @inlinable @inline(__always)
  func inPlace(_ index: Int, stride: Int) -> UnsafeMutableRawPointer {
    unsafe window.base.unsafelyUnwrapped + (index &- window.start) &* stride
  }

  /// Whether elements that the window has may be written in place.
  ///
  /// The caller has seen that the storage is its own, and so that another array gave it up. That array's
  /// `isWritable.store` came before. The fence keeps this load from coming before the caller's look; on
  /// x86-64 loads stay in order.
  @usableFromInline var isOpen: Bool {
    @inlinable @inline(__always) get {
      #if !arch(x86_64)
        AtomicWord.fence()
      #endif
      return isWritable.load(.relaxed) != 0
    }
  }

  /// Gives the window's memory back to the background.
  @usableFromInline func closeWindow() {
    unsafe window.count = 0
    if let held {
      space.endHold(held)
      self.held = nil
    }
  }

  /// Moves the window to an element, writable.
  @usableFromInline func openWindow(_ index: Int) throws(MemoryError) {
    closeWindow()
    let offset = layout.offset(index)
    let piece = try space.holdToWrite(at: offset, length: .max)
    unsafe window.base = piece.start
    unsafe window.start = index
    unsafe window.count = layout.count(piece.length, from: offset, limit: .max)
    willWrite(before: unsafe index + window.count)
    held = piece.slot
    isWritable.store(1, .relaxed)
  }

  /// Copies an element in that the window does not have, if that needs no fault. The second element of
  /// a page is for `store`, which moves the window there: elsewhere the next one is not worth it.
  ///
  /// At random places each element is a cache miss, and the processor has room for some tens of
  /// stores that wait. So there are few others here, and no reference count, which waits for all of
  /// them.
  @inlinable @inline(__always)
  func storeElsewhere(_ index: Int, _ offset: UInt64, _ element: UnsafeRawBufferPointer) -> Bool {
    let page = offset / UInt64(Layout.pageSize)
    guard unsafe page != missed else { return false }
    unsafe missed = page
    return unsafe index < writtenEnd
      && space.storeWithinPage(
        at: offset, from: element.baseAddress.unsafelyUnwrapped, size: element.count)
  }

  /// Makes the storage an array's own, moves the window to an element, and copies it in.
  @usableFromInline @inline(never)
  static func store(
    _ storage: inout Storage, _ index: Int, _ element: UnsafeRawBufferPointer
  ) throws(MemoryError) {
    try own(&storage, for: index + 1)
    try storage.openWindow(index)
    unsafe storage.inPlace(index, stride: storage.layout.stride)
      .copyMemory(from: element.baseAddress.unsafelyUnwrapped, byteCount: element.count)
  }
}

#if INTERLEAVE
  public import Interleave
#else
  public import Primitives
#endif

// References on allocated frames. A huge frame that some mapping has split counts all references
// on its head, so it goes back whole, with the order it was allocated with. (`Arena+Parts`: how it
// is split after all.)
extension Arena {
  /// The frame that counts references for `frame`: itself, or its huge frame's head.
  @inlinable @inline(__always)
  func head(_ frame: FrameNumber) -> FrameNumber {
    unsafe metadata[Int(frame)].word.load(.relaxed) & FrameState.tail == 0
      ? frame : counts(of: frame)[0]
  }

  /// Adds references to a frame that the caller knows to be alive.
  @inlinable @inline(__always)
  public func retain(_ frame: FrameNumber, count: UInt32 = 1) {
    let before = unsafe metadata[Int(head(frame))].word.add(UInt64(count), .relaxed)
    precondition(FrameState.references(before) != 0, "frames: retained after the free")
    precondition(
      FrameState.references(before) < UInt32.max >> 1, "frames: reference count overflow")
  }

  /// Drops references; the last one frees the frame.
  public func release(_ frame: FrameNumber, count: UInt32 = 1) {
    if drop(frame, count: count) { free(frame) }
  }

  /// Drops references and tells whether they were the last; then the caller must `free`.
  public func drop(_ frame: FrameNumber, count: UInt32 = 1) -> Bool {
    // `acquireRelease`: each drop's accesses happen before the free of the last.
    let before = unsafe metadata[Int(head(frame))].word.subtract(UInt64(count), .acquireRelease)
    precondition(FrameState.references(before) >= count, "frames: released more than retained")
    return FrameState.references(before) == count
  }

  /// Where a table keeps its counts: `low` and `high` of the frame's metadata. As pointers to
  /// them alone, since an access through `FrameMetadata` is one to `word` too, which others load.
  @inlinable @inline(__always)
  public func counts(of frame: FrameNumber) -> UnsafeMutablePointer<UInt32> {
    unsafe (UnsafeMutableRawPointer(metadata + Int(frame)) + MemoryLayout<AtomicWord>.size)
      .assumingMemoryBound(to: UInt32.self)
  }

  /// References on a frame just now. 1 with the caller holding it means: nobody else does.
  @inlinable @inline(__always)
  public func references(_ frame: FrameNumber) -> UInt32 {
    // `acquire` pairs with the release in `release`: who sees himself the only owner sees that
    // the others are done.
    unsafe FrameState.references(metadata[Int(head(frame))].word.load(.acquire))
  }

  /// Whether the frame is the head or a part of a huge frame.
  public func isHuge(_ frame: FrameNumber) -> Bool {
    unsafe FrameState.order(metadata[Int(head(frame))].word.load(.relaxed))
      == FrameGeometry.hugeOrder
  }

  /// Frees a frame whose last reference was dropped, with the order it was allocated with
  /// (history item 1).
  public func free(_ part: FrameNumber) {
    let frame = head(part)
    let state = unsafe metadata[Int(frame)].word.load(.relaxed)
    let order = FrameState.order(state)
    if order == 0 { return freeSmall(frame) }
    if state & FrameState.marked != 0 { unmark(frame) }
    giveBack(frame, order: order)
  }
}

#if INTERLEAVE
  public import Interleave
#else
  public import Primitives
#endif

// References to allocated frames. A huge frame that is mapped small counts all references on its
// head, so it is freed whole, with the order it was allocated with. `Arena+Parts` says how such a
// frame is split in the end.
extension Arena {
  /// The frame that counts the references to `frame`: itself, or the head of its huge frame.
  @inlinable @inline(__always)
  func head(_ frame: FrameNumber) -> FrameNumber {
    unsafe metadata[Int(frame)].word.test(.relaxed) { $0 & FrameState.tail == 0 }
      ? frame : counts(of: frame)[0]
  }

  /// Adds references to a frame. The caller knows that it is alive.
  @inlinable @inline(__always)
  public func retain(_ frame: FrameNumber, count: UInt32 = 1) {
    _ = unsafe metadata[Int(head(frame))].word.addAndTest(UInt64(count), .relaxed) { before in
      precondition(FrameState.references(before) != 0, "frames: retained after the free")
      precondition(
        FrameState.references(before) < UInt32.max >> 1, "frames: reference count overflow")
      return true
    }
  }

  /// Drops references. Frees the frame if they were the last.
  public func release(_ frame: FrameNumber, count: UInt32 = 1) {
    if drop(frame, count: count) { free(frame) }
  }

  /// Drops references. Returns whether they were the last; if so, the caller must call `free`.
  public func drop(_ frame: FrameNumber, count: UInt32 = 1) -> Bool {
    // `acquireRelease`: the accesses before each drop happen before the free after the last.
    let word = unsafe metadata + Int(head(frame))
    return unsafe word.pointee.word.subtractAndTest(UInt64(count), .acquireRelease) { before in
      precondition(FrameState.references(before) >= count, "frames: released more than retained")
      return FrameState.references(before) == count
    }
  }

  /// A pointer to `low` and `high` in the frame's metadata, where a table keeps its counts. It
  /// points to these two alone: an access through `FrameMetadata` would include `word`, which other
  /// threads load.
  @inlinable @inline(__always)
  public func counts(of frame: FrameNumber) -> UnsafeMutablePointer<UInt32> {
    unsafe (UnsafeMutableRawPointer(metadata + Int(frame)) + MemoryLayout<AtomicWord>.size)
      .assumingMemoryBound(to: UInt32.self)
  }

  /// The number of references to a frame now. If the caller holds one and the number is 1, nobody
  /// else holds any.
  @inlinable @inline(__always)
  public func references(_ frame: FrameNumber) -> UInt32 {
    // `acquire` pairs with the release in `release`: a caller that finds itself the only owner also
    // sees that the others are done.
    unsafe FrameState.references(metadata[Int(head(frame))].word.load(.acquire))
  }

  /// Whether the caller's reference to a frame is the only one. `acquire` is as in `references`.
  @inlinable @inline(__always)
  public func hasOneReference(_ frame: FrameNumber) -> Bool {
    unsafe metadata[Int(head(frame))].word.test(.acquire) { FrameState.references($0) == 1 }
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

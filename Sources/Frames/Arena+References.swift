#if INTERLEAVE
  public import Interleave
#else
  public import Primitives
#endif

// References on allocated frames. A huge frame that some mapping has split counts the small
// mappings of its parts on its head, so it goes back whole, with the order it was allocated with.
extension Arena {
  /// The frame that counts references for `frame`: itself, or its huge frame's head.
  @inlinable @inline(__always)
  func head(_ frame: FrameNumber) -> FrameNumber {
    unsafe metadata[Int(frame)].word.load(.relaxed) & FrameState.tail == 0
      ? frame : metadata[Int(frame)].low
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
    if state & FrameState.marked != 0 {
      for part in 1..<FrameNumber(1 << order) {
        unsafe metadata[Int(frame + part)].word.store(0, .relaxed)
      }
    }
    giveBack(frame, order: order)
  }

  /// The mapping of a huge frame that others map too becomes 512 small ones: the parts name
  /// their head, which gets `511` references more. The caller owns one of the references and
  /// serialises callers for one frame by holding `splitLock`.
  public func splitMapping(_ frame: FrameNumber) {
    splitLock.withLock {
      let word = unsafe metadata[Int(frame)].word.load(.relaxed)
      if word & FrameState.marked == 0 {
        for part in 1..<FrameNumber(FrameGeometry.framesPerHuge) {
          unsafe metadata[Int(frame + part)].low = frame
          unsafe metadata[Int(frame + part)].word.store(FrameState.tail, .relaxed)
        }
        unsafe metadata[Int(frame)].word.add(FrameState.marked, .relaxed)
      }
    }
    retain(frame, count: UInt32(FrameGeometry.framesPerHuge - 1))
  }

  /// A huge frame with a single reference, the caller's, becomes 512 small frames with one
  /// reference each, so that each can go by itself. Returns false, with nothing changed, if
  /// there are other references.
  public func splitFrame(_ frame: FrameNumber) -> Bool {
    let word = unsafe metadata[Int(frame)].word.load(.acquire)
    guard FrameState.references(word) == 1 else { return false }
    for part in 1..<FrameNumber(FrameGeometry.framesPerHuge) {
      unsafe metadata[Int(frame + part)].word.store(FrameState.allocated(order: 0), .relaxed)
    }
    // Order and references change in one step: `retainHuge` either comes before, and this fails,
    // or sees a small frame. `release` pairs with the `acquire` there.
    let small = FrameState.allocated(order: 0)
    let swap = unsafe metadata[Int(frame)].word.compareExchange(word, small, .acquireRelease)
    if swap.exchanged { return true }
    for part in 1..<FrameNumber(FrameGeometry.framesPerHuge) {
      let state = word & FrameState.marked != 0 ? FrameState.tail : 0
      unsafe metadata[Int(frame + part)].word.store(state, .relaxed)
    }
    return false
  }

  /// Adds a reference to a huge frame that is alive, unless it has just been split.
  public func retainHuge(_ frame: FrameNumber) -> Bool {
    let before = unsafe metadata[Int(frame)].word.add(1, .acquire)
    if FrameState.order(before) == FrameGeometry.hugeOrder { return true }
    release(frame)
    return false
  }
}

#if INTERLEAVE
  import Interleave
#else
  import Primitives
#endif

// Huge frames and their parts. A huge frame with one owner is split at once (`splitFrame`). A huge
// frame that others map too is only *mapped* small: each part counts its small mappings, as a
// folio's pages do. Once a part has no mapping left, the frame is queued to be split
// (`splitQueued`), like the deferred split queue in `mm/huge_memory.c`.
extension Arena {
  /// Turns the caller's mapping of a huge frame, which others map too, into 512 small mappings. The
  /// caller's reference becomes one reference for each part.
  public func splitMapping(_ frame: FrameNumber) {
    splitLock.withLock {
      let word = unsafe metadata[Int(frame)].word.load(.relaxed)
      if word & FrameState.marked == 0 {
        for part in 1..<FrameNumber(FrameGeometry.framesPerHuge) {
          unsafe counts(of: frame + part)[0] = frame
          unsafe metadata[Int(frame + part)].word.store(FrameState.tail, .relaxed)
        }
        unsafe counts(of: frame)[0] = 0
        unsafe metadata[Int(frame)].word.add(FrameState.marked, .relaxed)
      }
      for part in 0..<FrameNumber(FrameGeometry.framesPerHuge) { addMapping(frame, part, 1) }
      // This too needs the lock: if there are more references than mappings, `splitShared`
      // concludes that there are other holders.
      retain(frame, count: UInt32(FrameGeometry.framesPerHuge - 1))
    }
  }

  /// Adds a reference for one more small entry. The frame may be a part of a huge one.
  @inline(__always)
  public func retainSmall(_ frame: FrameNumber) {
    if isWhole(frame) { return retain(frame) }
    retainPart(frame)
  }

  /// Drops the reference of a small entry. Returns whether this queued the huge frame to be split.
  @inline(__always) @discardableResult
  public func releaseSmall(_ frame: FrameNumber) -> Bool {
    if isWhole(frame) {
      release(frame)
      return false
    }
    return releasePart(frame)
  }

  /// Whether the frame behind a small entry is not a part of a huge frame and has one reference.
  ///
  /// The word is loaded once. Between two loads the huge frame may be split, and from then on the
  /// head's count says nothing about this part.
  @inline(__always)
  public func isSole(_ frame: FrameNumber) -> Bool {
    // `acquire` pairs with the release in `release`, as in `references`. When a part is split off,
    // one store makes it small and gives it its own count.
    unsafe metadata[Int(frame)].word.test(.acquire) {
      $0 & Self.shared == 0 && FrameState.references($0) == 1
    }
  }

  /// Whether the parts of a huge frame are mapped, and their mappings counted, one by one.
  public func isMappedSmall(_ frame: FrameNumber) -> Bool {
    unsafe metadata[Int(frame)].word.test(.relaxed) { $0 & FrameState.marked != 0 }
  }

  /// Whether any frame is queued to be split.
  public var hasQueuedSplits: Bool { splitLock.withLock { unsafe splitQueue.pointee != 0 } }

  /// Whether the frame is not a part of a huge frame that is mapped small.
  @inline(__always) private func isWhole(_ frame: FrameNumber) -> Bool {
    unsafe metadata[Int(frame)].word.test(.relaxed) { $0 & Self.shared == 0 }
  }

  private static var shared: UInt64 { FrameState.tail | FrameState.marked }

  private func retainPart(_ frame: FrameNumber) {
    splitLock.withLock {
      // The frame may have been split since the caller looked.
      let head = self.head(frame)
      if unsafe metadata[Int(head)].word.load(.relaxed) & FrameState.marked != 0 {
        addMapping(head, frame - head, 1)
      }
      retain(head)
    }
  }

  private func releasePart(_ frame: FrameNumber) -> Bool {
    let (freed, head, queued) = splitLock.withLock { () -> (Bool, FrameNumber, Bool) in
      let head = self.head(frame)
      var queued = false
      if unsafe metadata[Int(head)].word.load(.relaxed) & FrameState.marked != 0 {
        addMapping(head, frame - head, UInt32.max)
        queued = mappings(head, frame - head) == 0 && enqueue(head)
      }
      return (drop(head), head, queued)
    }
    if freed { free(head) }
    return queued && !freed
  }

  // MARK: (L) splitLock

  private func mappings(_ head: FrameNumber, _ part: FrameNumber) -> UInt32 {
    part == 0
      ? unsafe counts(of: head)[0]
      : unsafe FrameState.references(metadata[Int(head + part)].word.load(.relaxed))
  }

  /// Changes a part's number of mappings. `change` is 1, or `UInt32.max` for -1.
  private func addMapping(_ head: FrameNumber, _ part: FrameNumber, _ change: UInt32) {
    if part == 0 {
      unsafe counts(of: head)[0] &+= change
    } else {
      let count = mappings(head, part) &+ change
      unsafe metadata[Int(head + part)].word.store(FrameState.tail | UInt64(count), .relaxed)
    }
  }

  private func enqueue(_ head: FrameNumber) -> Bool {
    let isQueued = unsafe metadata[Int(head)].word.load(.relaxed) & FrameState.queued != 0
    guard !isQueued else { return false }
    let next = unsafe splitQueue.pointee
    unsafe counts(of: head + 1)[1] = next
    unsafe counts(of: head)[1] = 0
    if next != 0 { unsafe counts(of: next)[1] = head }
    unsafe splitQueue.pointee = head
    unsafe metadata[Int(head)].word.add(FrameState.queued, .relaxed)
    return true
  }

  private func dequeue(_ head: FrameNumber) {
    guard unsafe metadata[Int(head)].word.load(.relaxed) & FrameState.queued != 0 else { return }
    let next = unsafe counts(of: head + 1)[1]
    let previous = unsafe counts(of: head)[1]
    if previous == 0 {
      unsafe splitQueue.pointee = next
    } else {
      unsafe counts(of: previous + 1)[1] = next
    }
    if next != 0 { unsafe counts(of: next)[1] = previous }
    unsafe metadata[Int(head)].word.subtract(FrameState.queued, .relaxed)
  }

  /// Unmarks the parts of a huge frame whose last reference is gone.
  func unmark(_ frame: FrameNumber) {
    splitLock.withLock {
      dequeue(frame)
      for part in 1..<FrameNumber(FrameGeometry.framesPerHuge) {
        unsafe metadata[Int(frame + part)].word.store(0, .relaxed)
      }
    }
  }

  // MARK: Splitting

  /// Splits a huge frame whose only reference is the caller's into 512 small frames with one
  /// reference each, so that each can be freed by itself. If there are other references, changes
  /// nothing and returns false.
  public func splitFrame(_ frame: FrameNumber) -> Bool {
    splitLock.withLock {
      dequeue(frame)
      let word = unsafe metadata[Int(frame)].word.load(.acquire)
      guard FrameState.references(word) == 1 else { return false }
      for part in 1..<FrameNumber(FrameGeometry.framesPerHuge) {
        unsafe metadata[Int(frame + part)].word.store(FrameState.allocated(order: 0), .relaxed)
      }
      // Order and references change in one step. A concurrent `retainHuge` either comes first, so
      // that this exchange fails, or sees a small frame. `release` pairs with the `acquire` there.
      let small = FrameState.allocated(order: 0)
      let swap = unsafe metadata[Int(frame)].word.compareExchange(word, small, .acquireRelease)
      if swap.exchanged { return true }
      for part in 1..<FrameNumber(FrameGeometry.framesPerHuge) {
        let state = word & FrameState.marked != 0 ? FrameState.tail : 0
        unsafe metadata[Int(frame + part)].word.store(state, .relaxed)
      }
      return false
    }
  }

  /// Splits each queued frame whose references all come from small mappings, so that its parts
  /// without a mapping can be freed. Passes these parts to `unmapped`, each with a reference.
  /// Release them after a grace period: a reader may still reach the head through an entry that it
  /// loaded before. Returns the number of frames split; the others stay in the queue.
  public func splitQueued(_ unmapped: (FrameNumber) -> Void) -> Int {
    var split = 0
    var kept: [FrameNumber] = []
    while let frame = splitLock.withLock({ popQueued() }) {
      let count = FrameGeometry.framesPerHuge
      let isSplit = unsafe withUnsafeTemporaryAllocation(of: FrameNumber.self, capacity: count) {
        parts in
        guard let found = splitLock.withLock({ unsafe splitShared(frame, parts) }) else {
          return false
        }
        for index in 0..<found { unmapped(unsafe parts[index]) }
        return true
      }
      if isSplit { split += 1 } else { kept.append(frame) }
    }
    for frame in kept {
      splitLock.withLock { _ = enqueue(frame) }
      release(frame)
    }
    return split
  }

  /// Removes the first frame that is still alive from the queue and retains it. Under `splitLock`.
  private func popQueued() -> FrameNumber? {
    while true {
      let head = unsafe splitQueue.pointee
      guard head != 0 else { return nil }
      dequeue(head)
      if retainIfAlive(head) { return head }
      // Its last reference is gone. Whoever dropped it frees the frame once this lock is released.
    }
  }

  /// Adds a reference unless the count is 0 (`folio_try_get`).
  private func retainIfAlive(_ head: FrameNumber) -> Bool {
    var word = unsafe metadata[Int(head)].word.load(.relaxed)
    while FrameState.references(word) != 0 {
      let swap = unsafe metadata[Int(head)].word.compareExchange(word, word + 1, .relaxed)
      if swap.exchanged { return true }
      word = swap.original
    }
    return false
  }

  /// Splits a frame if all its references but one, the caller's, come from small mappings. This
  /// consumes the caller's reference. Writes the parts without a mapping to `parts` and returns
  /// their number, or returns nil if the frame was not split.
  private func splitShared(
    _ head: FrameNumber, _ parts: UnsafeMutableBufferPointer<FrameNumber>
  ) -> Int? {
    // Another part may have queued the frame again since it was popped.
    dequeue(head)
    let word = unsafe metadata[Int(head)].word.load(.acquire)
    guard word & FrameState.marked != 0 else { return nil }
    var mapped: UInt32 = 0
    for part in 0..<FrameNumber(FrameGeometry.framesPerHuge) { mapped += mappings(head, part) }
    guard FrameState.references(word) == mapped + 1 else { return nil }
    // The head comes first. From here on, a reader that takes a reference through a part finds that
    // the head is not huge, drops the reference and looks again (`retainIfSame`).
    let own = mappings(head, 0)
    let small = FrameState.allocated(order: 0) - 1 + UInt64(max(own, 1))
    guard unsafe metadata[Int(head)].word.compareExchange(word, small, .acquireRelease).exchanged
    else { return nil }
    var found = 0
    if own == 0 {
      unsafe parts[0] = head
      found = 1
    }
    for part in 1..<FrameNumber(FrameGeometry.framesPerHuge) {
      let count = mappings(head, part)
      if count == 0 {
        unsafe parts[found] = head + part
        found += 1
      }
      let state = FrameState.allocated(order: 0) - 1 + UInt64(max(count, 1))
      unsafe metadata[Int(head + part)].word.store(state, .release)
    }
    return found
  }

  /// Adds a reference to a huge frame that is alive. Returns false, without a reference, if it has
  /// just been split.
  public func retainHuge(_ frame: FrameNumber) -> Bool {
    let before = unsafe metadata[Int(frame)].word.add(1, .acquire)
    if FrameState.order(before) == FrameGeometry.hugeOrder { return true }
    release(frame)
    return false
  }

  /// Adds a reference, without a lock, to the frame behind a small entry that a reader has loaded.
  /// Returns false, without a reference, if the frame was a part of a huge frame and has just been
  /// split from it: load the entry again.
  public func retainIfSame(_ frame: FrameNumber) -> Bool {
    // `acquire` pairs with the `release` in `splitShared`: whoever sees that a part is small also
    // sees its own count.
    let word = unsafe metadata[Int(frame)].word.load(.acquire)
    if word & FrameState.tail != 0 { return unsafe retainHuge(counts(of: frame)[0]) }
    if word & FrameState.marked != 0 { return retainHuge(frame) }
    retain(frame)
    return true
  }
}

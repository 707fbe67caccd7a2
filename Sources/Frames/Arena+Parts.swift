#if INTERLEAVE
  import Interleave
#else
  import Primitives
#endif

// Huge frames and their parts. A huge frame with one owner is split at once (`splitFrame`). One
// that others map too is only *mapped* small: its parts count their small mappings, as a folio's
// pages do, and once a part has none the frame waits in a queue to be split (`splitQueued`), as
// `mm/huge_memory.c` does with its deferred split queue.
extension Arena {
  /// The mapping of a huge frame that others map too becomes 512 small ones. The caller's reference
  /// becomes one of each part.
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
      // Also under the lock: `splitShared` takes references beyond the mappings for other holders.
      retain(frame, count: UInt32(FrameGeometry.framesPerHuge - 1))
    }
  }

  /// A reference for one more small entry of a frame, which may be a part of a huge one.
  @inline(__always)
  public func retainSmall(_ frame: FrameNumber) {
    if unsafe metadata[Int(frame)].word.load(.relaxed) & Self.shared == 0 { return retain(frame) }
    retainPart(frame)
  }

  /// Drops a small entry's reference. Returns whether the frame has just been queued to be split.
  @inline(__always) @discardableResult
  public func releaseSmall(_ frame: FrameNumber) -> Bool {
    if unsafe metadata[Int(frame)].word.load(.relaxed) & Self.shared == 0 {
      release(frame)
      return false
    }
    return releasePart(frame)
  }

  /// Whether a frame behind a small entry is no part of a huge frame and has this one reference.
  /// By one look: between two, its head may be split, and count for itself what the part does not.
  @inline(__always)
  public func isSole(_ frame: FrameNumber) -> Bool {
    // `acquire` pairs with the release in `release`, as in `references`; and a part that is split
    // off has its own count from the same store on that makes it small.
    let word = unsafe metadata[Int(frame)].word.load(.acquire)
    return word & Self.shared == 0 && FrameState.references(word) == 1
  }

  /// Whether a huge frame's parts are mapped one by one, and counted so.
  public func isMappedSmall(_ frame: FrameNumber) -> Bool {
    unsafe metadata[Int(frame)].word.load(.relaxed) & FrameState.marked != 0
  }

  /// Whether frames wait to be split.
  public var hasQueuedSplits: Bool { splitLock.withLock { unsafe splitQueue.pointee != 0 } }

  private static var shared: UInt64 { FrameState.tail | FrameState.marked }

  private func retainPart(_ frame: FrameNumber) {
    splitLock.withLock {
      // It may have been split since.
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

  /// `change` is 1, or -1 as an unsigned number.
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

  /// The last reference is gone: parts are parts no more.
  func unmark(_ frame: FrameNumber) {
    splitLock.withLock {
      dequeue(frame)
      for part in 1..<FrameNumber(FrameGeometry.framesPerHuge) {
        unsafe metadata[Int(frame + part)].word.store(0, .relaxed)
      }
    }
  }

  // MARK: Splitting

  /// A huge frame with a single reference, the caller's, becomes 512 small frames with one
  /// reference each, so that each can go by itself. Returns false, with nothing changed, if
  /// there are other references.
  public func splitFrame(_ frame: FrameNumber) -> Bool {
    splitLock.withLock {
      dequeue(frame)
      let word = unsafe metadata[Int(frame)].word.load(.acquire)
      guard FrameState.references(word) == 1 else { return false }
      for part in 1..<FrameNumber(FrameGeometry.framesPerHuge) {
        unsafe metadata[Int(frame + part)].word.store(FrameState.allocated(order: 0), .relaxed)
      }
      // Order and references change in one step: `retainHuge` either comes before, and this
      // fails, or sees a small frame. `release` pairs with the `acquire` there.
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

  /// Splits queued frames whose references are all of small mappings, so that the parts without one
  /// can go. `unmapped` gets those, each with a reference; a reader may still come upon the head
  /// by an old look, so they are released after a grace period. Returns how many frames were
  /// split; the others stay in the queue.
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

  /// The first of the queue, held.
  private func popQueued() -> FrameNumber? {
    while true {
      let head = unsafe splitQueue.pointee
      guard head != 0 else { return nil }
      dequeue(head)
      if retainIfAlive(head) { return head }
      // Whoever dropped its last reference frees it, as soon as this lock is given back.
    }
  }

  /// Adds a reference unless there is none left (`folio_try_get`).
  private func retainIfAlive(_ head: FrameNumber) -> Bool {
    var word = unsafe metadata[Int(head)].word.load(.relaxed)
    while FrameState.references(word) != 0 {
      let swap = unsafe metadata[Int(head)].word.compareExchange(word, word + 1, .relaxed)
      if swap.exchanged { return true }
      word = swap.original
    }
    return false
  }

  /// Splits a frame on which the caller has one reference, if the others are all of small
  /// mappings. The caller's is gone then. Returns how many parts without a mapping it wrote to
  /// `parts`; nil if it did not split.
  private func splitShared(
    _ head: FrameNumber, _ parts: UnsafeMutableBufferPointer<FrameNumber>
  ) -> Int? {
    // Since it was popped, another part may have queued it again.
    dequeue(head)
    let word = unsafe metadata[Int(head)].word.load(.acquire)
    guard word & FrameState.marked != 0 else { return nil }
    var mapped: UInt32 = 0
    for part in 0..<FrameNumber(FrameGeometry.framesPerHuge) { mapped += mappings(head, part) }
    guard FrameState.references(word) == mapped + 1 else { return nil }
    // First the head: who takes a reference on a part from here on finds no huge frame, lets go
    // and looks again (`retainIfSame`).
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

  /// Adds a reference to a huge frame that is alive, unless it has just been split.
  public func retainHuge(_ frame: FrameNumber) -> Bool {
    let before = unsafe metadata[Int(frame)].word.add(1, .acquire)
    if FrameState.order(before) == FrameGeometry.hugeOrder { return true }
    release(frame)
    return false
  }

  /// Adds a reference to the frame behind a small entry that a reader sees, without a lock; false
  /// if it was a part of a huge frame and has just been split from it: look again.
  public func retainIfSame(_ frame: FrameNumber) -> Bool {
    // `acquire` pairs with the `release` in `splitShared`: a part that is small is counted so.
    let word = unsafe metadata[Int(frame)].word.load(.acquire)
    if word & FrameState.tail != 0 { return unsafe retainHuge(counts(of: frame)[0]) }
    if word & FrameState.marked != 0 { return retainHuge(frame) }
    retain(frame)
    return true
  }
}

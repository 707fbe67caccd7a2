#if INTERLEAVE
  import Interleave
#else
  import CLinux
  import Primitives
#endif

/// Finds out again what an arena's frames are used for, after the process that knew it has ended. All
/// that was known is derived from the entries that refer to frames, so none of it is in the memory file:
///
/// 1. `mark` each entry that can be reached. Any thread may.
/// 2. `settle` each block: references, orders and parts of huge frames are as before then. Any thread
///    may, each block once.
/// 3. `rebuild` the free lists.
///
/// Between these steps all threads wait for each other. Nobody allocates meanwhile.
@safe public final class ArenaRecovery: @unchecked Sendable {
  // Sendable: constant pointers to words, which are atomic.

  /// What a frame is used for. While frames are marked, it stands in the frame's word.
  public struct Use: Equatable, Sendable {
    let tag: UInt64
    /// A table, of a level from 1 to 4.
    public static func table(level: Int) -> Use { Use(tag: UInt64(level)) }
    /// 4 KiB of data, or a part of a huge frame that is mapped small.
    public static let data = Use(tag: 5)
  }

  /// What became of a mark.
  public enum Mark: Sendable { case first, again, refused }

  private static let shift: UInt64 = 48

  private let arena: Arena
  /// (A) For each block, the huge entries that name it.
  private let huge: AtomicWordPointer
  /// The frames in use of each block. Written by the thread that settles it.
  private let taken: UnsafeMutablePointer<UInt16>
  private let blocks: Int
  /// (A) The last block with a frame in use; 0 if there is none.
  private let last = AtomicWord(0)

  public init(_ arena: Arena) {
    self.arena = arena
    blocks = arena.reserved >> FrameGeometry.hugeOrder
    unsafe huge = .allocate(capacity: blocks)
    unsafe taken = .allocate(capacity: blocks)
    unsafe taken.initialize(repeating: 0, count: blocks)
    for block in 0..<blocks { unsafe (huge + block).initialize(to: AtomicWord(0)) }
  }

  deinit {
    unsafe huge.deinitialize(count: blocks)
    unsafe huge.deallocate()
    unsafe taken.deallocate()
  }

  // MARK: Marking

  /// Counts an entry that names a frame, for a table or 4 KiB of data. Refuses a frame that the arena
  /// does not have, or that another entry uses for something else.
  public func mark(_ frame: FrameNumber, as use: Use) -> Mark {
    guard has(frame) else { return .refused }
    let word = unsafe arena.metadata + Int(frame)
    var seen = unsafe word.pointee.word.load(.relaxed)
    while true {
      let known = seen >> Self.shift
      guard known == 0 || known == use.tag, FrameState.references(seen) < UInt32.max >> 1 else {
        return .refused
      }
      let swap = unsafe word.pointee.word.compareExchange(
        seen, (seen + 1) | use.tag << Self.shift, .relaxed)
      if swap.exchanged {
        if known == 0 { note(frame) }
        return known == 0 ? .first : .again
      }
      seen = swap.original
    }
  }

  /// Counts an entry that names a huge frame. Refuses one that the arena does not have.
  public func markHuge(_ frame: FrameNumber) -> Mark {
    guard has(frame), frame & FrameNumber(FrameGeometry.framesPerHuge - 1) == 0 else {
      return .refused
    }
    let before = unsafe huge[Int(frame) >> FrameGeometry.hugeOrder].add(1, .relaxed)
    if before == 0 { note(frame) }
    return before == 0 ? .first : .again
  }

  private func has(_ frame: FrameNumber) -> Bool {
    Int(frame) >= FrameGeometry.framesPerHuge && Int(frame) < arena.reserved
  }

  private func note(_ frame: FrameNumber) {
    let block = UInt64(frame) >> UInt64(FrameGeometry.hugeOrder)
    var seen = last.load(.relaxed)
    while seen < block {
      let swap = last.compareExchange(seen, block, .relaxed)
      if swap.exchanged { return }
      seen = swap.original
    }
  }

  // MARK: After all marks

  /// The blocks in which a frame can be in use.
  public var used: Range<Int> { 1..<Int(last.load(.relaxed)) + 1 }

  /// Gives the frames of a block the references that were counted. Tables stay marked until
  /// `finishTable`.
  public func settle(block: Int) {
    let first = FrameNumber(block << FrameGeometry.hugeOrder)
    let parts = first..<first + FrameNumber(FrameGeometry.framesPerHuge)
    let references = unsafe huge[block].load(.relaxed)
    // A huge frame with a table in it is none. Who names it finds that out by `isHuge`.
    guard references > 0, !parts.contains(where: { tableLevel($0) != nil }) else {
      var used: UInt16 = 0
      for frame in parts {
        let word = unsafe arena.metadata[Int(frame)].word.load(.relaxed)
        if word == 0 { continue }
        used += 1
        if word >> Self.shift == Use.data.tag { settleSmall(frame, word) }
      }
      unsafe taken[block] = used
      return
    }
    unsafe taken[block] = UInt16(FrameGeometry.framesPerHuge)
    var small: UInt64 = 0
    for frame in parts {
      small += unsafe arena.metadata[Int(frame)].word.load(.relaxed) & UInt64(UInt32.max)
    }
    let huge = FrameState.allocated(order: FrameGeometry.hugeOrder) - 1 + references
    guard small > 0 else {
      return unsafe arena.metadata[Int(first)].word.store(huge, .relaxed)
    }
    // Some map it huge and some small: the head counts all references (`Arena+Parts`).
    for frame in parts.dropFirst() {
      let count = unsafe arena.metadata[Int(frame)].word.load(.relaxed) & UInt64(UInt32.max)
      unsafe arena.counts(of: frame)[0] = first
      unsafe arena.metadata[Int(frame)].word.store(FrameState.tail | count, .relaxed)
    }
    let own = unsafe FrameState.references(arena.metadata[Int(first)].word.load(.relaxed))
    unsafe arena.counts(of: first)[0] = own
    unsafe arena.metadata[Int(first)].word.store((huge + small) | FrameState.marked, .relaxed)
  }

  /// The level of the table that a frame was marked as; nil if it is none, or finished.
  public func tableLevel(_ frame: FrameNumber) -> Int? {
    let tag = unsafe arena.metadata[Int(frame)].word.load(.relaxed) >> Self.shift
    return (1...4).contains(tag) ? Int(tag) : nil
  }

  /// Ends the mark of a table.
  public func finishTable(_ frame: FrameNumber) {
    settleSmall(frame, unsafe arena.metadata[Int(frame)].word.load(.relaxed))
  }

  private func settleSmall(_ frame: FrameNumber, _ word: UInt64) {
    let count = UInt64(FrameState.references(word))
    unsafe arena.metadata[Int(frame)].word.store(
      FrameState.allocated(order: 0) - 1 + count, .relaxed)
  }

  /// Makes the free lists of all that is not in use, and gives the memory of blocks that are wholly
  /// free back to the system. Returns the number of frames in use.
  ///
  /// - Complexity: O(frames up to the last one in use).
  public func rebuild() -> Int {
    var free: Range<Int>?
    var inUse = 0
    for block in used {
      let frames = block << FrameGeometry.hugeOrder..<(block + 1) << FrameGeometry.hugeOrder
      let taken = unsafe Int(self.taken[block])
      inUse += taken
      if taken == 0 {
        free = (free?.lowerBound ?? block)..<block + 1
        continue
      }
      if let run = free { giveBack(run) }
      free = nil
      guard taken < frames.count else { continue }
      // Without memory for all of it, the rest of the block stays unused.
      guard !arena.canRunOut || arena.hasMemory(FrameNumber(frames.lowerBound)) else { continue }
      arena.lock.withLock {
        for frame in frames {
          guard unsafe arena.metadata[frame].word.load(.relaxed) == 0 else { continue }
          _ = arena.coalesce(FrameNumber(frame), order: 0, clean: false)
        }
      }
    }
    // All blocks after the last one in use are as if they had never been handed out.
    let fresh = used.upperBound << FrameGeometry.hugeOrder
    _ = arena.giveBackMemory(FrameNumber(fresh), frames: arena.reserved - fresh)
    arena.lock.withLock {
      arena.nextFresh = FrameNumber(fresh)
      arena.outstanding.store(UInt64(inUse), .relaxed)
    }
    return inUse
  }

  private func giveBack(_ run: Range<Int>) {
    let first = FrameNumber(run.lowerBound << FrameGeometry.hugeOrder)
    let failed = arena.giveBackMemory(first, frames: run.count << FrameGeometry.hugeOrder)
    arena.lock.withLock {
      for block in run {
        arena.link(
          FrameNumber(block << FrameGeometry.hugeOrder), order: FrameGeometry.hugeOrder,
          clean: failed == 0)
      }
    }
  }
}

#if !INTERLEAVE
  extension Arena {
    /// Makes the system find memory for what the arena will know about the frames that a file has. One
    /// call for many pages costs a tenth of a fault for each. Does nothing if the file does not say where it
    /// has memory.
    package func populateMetadata(of file: ArenaFile) {
      let block = Int64(FrameGeometry.hugeSize)
      let length = Int64(reserved) << Int64(FrameGeometry.frameShift)
      var known: Range<Int64> = 0..<0
      var (start, end): (Int64, Int64) = (0, 0)
      while unsafe hm_next_data(file.descriptor, file.offset + known.upperBound, &start, &end) == 0,
        start - file.offset < length
      {
        start = (start - file.offset) / block * block
        end = min((end - file.offset + block - 1) / block * block, length)
        if start > known.upperBound {
          populateMetadata(known)
          known = start..<end
        } else {
          known = known.lowerBound..<end
        }
      }
      populateMetadata(known)
    }

    /// The metadata of whole blocks is whole pages.
    private func populateMetadata(_ bytes: Range<Int64>) {
      guard !bytes.isEmpty else { return }
      let stride = MemoryLayout<FrameMetadata>.stride
      let first = Int(bytes.lowerBound) >> FrameGeometry.frameShift
      _ = unsafe hm_populate(
        metadata + first, bytes.count >> FrameGeometry.frameShift * stride)
    }
  }
#endif

import Frames
import Glibc
import Paging

// The equal-to-origin scan: if a page that a fork wrote has the same contents as its origin's page,
// the two share one frame again. KSM has to search all memory for such pages; here the place is
// known.
extension AddressSpace {
  /// Shares a slot's pages with `origin` where their contents are equal. `origin` is a fork of this
  /// space's origin that no other thread knows, so nothing below its root changes as long as it
  /// lives. Meanwhile readers go on and writers wait. Returns how many frames this space no longer
  /// has.
  func shareEqual(_ slot: UInt64, with origin: AddressSpace) -> Int {
    let theirs = origin.slot(slot).entry
    guard hasOwnFrame(slot, { areEqual($0, origin.counterpart(of: $0, $1, in: theirs)) }) else {
      return 0
    }
    return lock.withLock { shareEqualLocked(slot, with: origin) }
  }

  /// Under the lock, whatever the look without it found.
  func shareEqualLocked(_ slot: UInt64, with origin: AddressSpace) -> Int {
    let theirs = origin.slot(slot).entry
    let shared = replaceOwnFrames(slot) { mine, page in
      let other = origin.counterpart(of: mine, page, in: theirs)
      guard areEqual(mine, other) else { return nil }
      if mine.kind == .huge {
        arena.retain(other.frame)
      } else {
        arena.retainSmall(other.frame)
      }
      if theirs.kind == .huge {
        origin.protectShared(slot)
      } else {
        Table(theirs.frame, in: arena).protect(page)
      }
      return Entry(mine.kind, other.frame, writable: false)
    }
    if shared > 0 { machine.events.equalReclaim.count(shared) }
    return shared
  }

  /// Takes the `W` of a slot's entry in a shared tree. Every thread that changes an entry there
  /// takes its `W`, and changes nothing else. A space that owns the tree alone again has to check
  /// the frame's references before it writes.
  private func protectShared(_ slot: UInt64) {
    var table = Table(Entry(raw: root.load(.relaxed)).frame, in: arena)
    for depth in stride(from: level, to: 2, by: -1) {
      table = Table(table[Radix.index(slot, depth)].frame, in: arena)
    }
    table.protect(Radix.index(slot, 2))
  }

  /// The entry of this space that could replace `mine`: the slot's entry, or the entry of one page
  /// if `mine` is small. None if there is none.
  private func counterpart(of mine: Entry, _ page: Int, in entry: Entry) -> Entry {
    if mine.kind == .huge { return entry }
    switch entry.kind {
    case .table: return Table(entry.frame, in: arena)[page]
    case .huge:
      // The parts of a frame are counted separately only if the frame is already mapped small.
      guard arena.isMappedSmall(entry.frame) else { return .none }
      return Entry(.small, entry.frame + FrameNumber(page), writable: false)
    case .none, .zero, .small: return .none
    }
  }

  /// An entry that maps no frame is not writable, so it is equal to nothing.
  private func areEqual(_ mine: Entry, _ other: Entry) -> Bool {
    guard mine.kind == other.kind, mine.frame != other.frame, mine.isWritable, !mine.isKept,
      !mine.isHidden, !other.isHidden
    else { return false }
    return unsafe memcmp(arena.address(mine.frame), arena.address(other.frame), mine.frameLength)
      == 0
  }
}

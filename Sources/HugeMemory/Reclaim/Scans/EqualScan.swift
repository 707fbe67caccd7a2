import Frames
import Glibc
import Paging

// The equal-to-origin scan: a page that a fork wrote, and that has the contents of its origin's, is
// shared with it again. What KSM finds by searching all memory is here at a known place.
extension AddressSpace {
  /// Shares a slot's pages with `origin` where their contents are equal. `origin` is a fork of this
  /// space's origin that nobody else knows: nothing below its root changes as long as it lives.
  /// Readers go on meanwhile, writers wait. Returns how many frames this space no longer has.
  func shareEqual(_ slot: UInt64, with origin: AddressSpace) -> Int {
    let theirs = origin.slot(slot).entry
    guard hasOwnFrame(slot, { areEqual($0, origin.counterpart(of: $0, $1, in: theirs)) }) else {
      return 0
    }
    return lock.withLock { shareEqualLocked(slot, with: origin) }
  }

  /// Under the lock, whatever the look said.
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

  /// In a tree that is shared: all who change an entry there take its `W`, and nothing else. Whoever
  /// owns it alone again has to look at the frame's references before he writes.
  private func protectShared(_ slot: UInt64) {
    var table = Table(Entry(raw: root.load(.relaxed)).frame, in: arena)
    for depth in stride(from: level, to: 2, by: -1) {
      table = Table(table[Radix.index(slot, depth)].frame, in: arena)
    }
    table.protect(Radix.index(slot, 2))
  }

  /// What could be shared instead of an entry: of the slot's entry in this space, the page as a small
  /// one if the other is small; none if it cannot.
  private func counterpart(of mine: Entry, _ page: Int, in entry: Entry) -> Entry {
    if mine.kind == .huge { return entry }
    switch entry.kind {
    case .table: return Table(entry.frame, in: arena)[page]
    case .huge:
      // Only the parts of a frame that is mapped small already are counted by themselves.
      guard arena.isMappedSmall(entry.frame) else { return .none }
      return Entry(.small, entry.frame + FrameNumber(page), writable: false)
    case .none, .zero, .small: return .none
    }
  }

  /// What maps no frame is not writable, and so equal to nothing.
  private func areEqual(_ mine: Entry, _ other: Entry) -> Bool {
    guard mine.kind == other.kind, mine.frame != other.frame, mine.isWritable, !mine.isKept,
      !mine.isHidden, !other.isHidden
    else { return false }
    return unsafe memcmp(arena.address(mine.frame), arena.address(other.frame), mine.frameLength)
      == 0
  }
}

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
    guard looksEqual(slot, origin) else { return 0 }
    return lock.withLock { shareEqualLocked(slot, with: origin) }
  }

  /// A look without the lock, as with zeros.
  private func looksEqual(_ slot: UInt64, _ origin: AddressSpace) -> Bool {
    let section = grace.enter()
    let looks = looksEqual(self.slot(slot), origin.slot(slot).entry, origin)
    section.leave()
    return looks
  }

  private func looksEqual(_ mine: Slot, _ other: Entry, _ origin: AddressSpace) -> Bool {
    guard mine.exclusive, mine.entry.isWritable else { return false }
    switch mine.entry.kind {
    case .huge: return areEqual(mine.entry, other, FrameGeometry.hugeSize)
    case .table:
      let table = Table(mine.entry.frame, in: arena)
      return (0..<Table.count).contains {
        isEqual(table[$0], origin.page($0, of: other))
      }
    case .none, .zero, .small: return false
    }
  }

  /// Under the lock, whatever the look said.
  func shareEqualLocked(_ slot: UInt64, with origin: AddressSpace) -> Int {
    let index = Radix.index(slot, 2)
    guard let upper = ownedTable(slot), upper[index].isWritable else { return 0 }
    let theirs = origin.slot(slot).entry
    let shared = withoutWriters(upper, index) { entry -> Int in
      if entry.kind == .huge {
        guard areEqual(entry, theirs, FrameGeometry.hugeSize) else { return 0 }
        arena.retain(theirs.frame)
        origin.protectShared(slot)
        replace(upper, index, Entry(.huge, theirs.frame, writable: false))
        retire(entry, level: 1)
        return FrameGeometry.framesPerHuge
      }
      let table = Table(entry.frame, in: arena)
      var shared = 0
      for page in 0..<Table.count {
        let mine = table[page]
        let other = origin.page(page, of: theirs)
        guard isEqual(mine, other) else { continue }
        arena.retainSmall(other.frame)
        if theirs.kind == .huge {
          origin.protectShared(slot)
        } else {
          Table(theirs.frame, in: arena).protect(page)
        }
        replace(table, page, Entry(.small, other.frame, writable: false))
        retire(mine, level: 0)
        shared += 1
      }
      return shared
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

  /// A page of a slot, as a small entry that could be shared; none if it cannot.
  private func page(_ index: Int, of entry: Entry) -> Entry {
    switch entry.kind {
    case .table: return Table(entry.frame, in: arena)[index]
    case .huge:
      // Only the parts of a frame that is mapped small already are counted by themselves.
      guard arena.isMappedSmall(entry.frame) else { return .none }
      return Entry(.small, entry.frame + FrameNumber(index), writable: false)
    case .none, .zero, .small: return .none
    }
  }

  private func isEqual(_ mine: Entry, _ other: Entry) -> Bool {
    mine.kind == .small && areEqual(mine, other, FrameGeometry.frameSize)
  }

  private func areEqual(_ mine: Entry, _ other: Entry, _ count: Int) -> Bool {
    guard mine.kind == other.kind, mine.frame != other.frame, mine.isWritable, !mine.isKept,
      !mine.isHidden, !other.isHidden
    else { return false }
    return unsafe memcmp(arena.address(mine.frame), arena.address(other.frame), count) == 0
  }
}

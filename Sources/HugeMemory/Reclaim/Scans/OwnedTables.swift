import Frames
import Paging

// The part of a space that reclaim may change: tables that the space owns. All changes are made
// under the space's lock.
extension AddressSpace {
  /// The level 2 table of a slot, if this space alone refers to it and to those above it. Reclaim
  /// makes and copies no tables: that would take memory in order to give some back.
  func ownedTable(_ slot: UInt64) -> Table? {
    var entry = Entry(raw: root.load(.relaxed))
    var depth = level
    while entry.isWritableTable {
      let table = Table(entry.frame, in: arena)
      if depth == 2 { return table }
      entry = table[Radix.index(slot, depth)]
      depth -= 1
    }
    return nil
  }

  /// Takes the `W` from a slot's entry, so that writers take the lock, and waits for those that
  /// were past the entry. `body` may then read contents and change entries below. Afterwards the
  /// entry gets its `W` back unless `body` replaced it.
  func withoutWriters<Result>(
    _ upper: Table, _ index: Int, _ body: (Entry) -> Result
  ) -> Result {
    let entry = upper[index]
    if entry.isWritable {
      upper.set(index, entry.protected)
      machine.flushTranslations()
    }
    defer { if upper[index] == entry.protected { upper.set(index, entry) } }
    return body(entry)
  }

  /// Whether a slot has a frame that is wanted and whose tables this space owns. This is a look
  /// without the lock, at contents that may be changing, only to save work. `isWanted` gets the
  /// entry and, for a small entry, the page.
  func hasOwnFrame(_ slot: UInt64, _ isWanted: (Entry, _ page: Int) -> Bool) -> Bool {
    let section = grace.enter()
    let isFound = hasFrame(self.slot(slot), isWanted)
    section.leave()
    return isFound
  }

  private func hasFrame(_ seen: Slot, _ isWanted: (Entry, Int) -> Bool) -> Bool {
    guard seen.exclusive, seen.entry.isWritable else { return false }
    switch seen.entry.kind {
    case .huge: return isWanted(seen.entry, 0)
    case .table:
      let table = Table(seen.entry.frame, in: arena)
      return (0..<Table.count).contains { isWanted(table[$0], $0) }
    case .none, .zero, .small: return false
    }
  }

  /// Replaces the entries of a slot's frames while writers wait. `replacement` returns the new
  /// entry, or nil to keep the old one. Returns how many frames the slot no longer maps.
  func replaceOwnFrames(
    _ slot: UInt64, _ replacement: (Entry, _ page: Int) -> Entry?
  ) -> Int {
    let index = Radix.index(slot, 2)
    guard let upper = ownedTable(slot), upper[index].isWritable, !isHeld(slot) else { return 0 }
    return withoutWriters(upper, index) { entry in
      if entry.kind == .huge {
        guard let new = replacement(entry, 0) else { return 0 }
        replace(upper, index, new)
        retire(entry, level: 1)
        return FrameGeometry.framesPerHuge
      }
      let table = Table(entry.frame, in: arena)
      var replaced = 0
      for page in 0..<Table.count {
        let old = table[page]
        guard let new = replacement(old, page) else { continue }
        replace(table, page, new)
        retire(old, level: 0)
        replaced += 1
      }
      return replaced
    }
  }

  /// Removes the tables without entries on the path to a slot, from below.
  func prune(_ slot: UInt64) {
    let entry = Entry(raw: root.load(.relaxed))
    guard entry.isWritableTable,
      isEmptied(Table(entry.frame, in: arena), level, slot)
    else { return }
    storeRoot(.none)
    retire(entry, level: level)
  }

  private func isEmptied(_ table: Table, _ level: Int, _ slot: UInt64) -> Bool {
    let index = Radix.index(slot, level)
    let entry = table[index]
    if level > 1, entry.isWritableTable,
      isEmptied(Table(entry.frame, in: arena), level - 1, slot)
    {
      replace(table, index, .none)
      retire(entry, level: level - 1)
    }
    return table.liveEntries == 0
  }

  /// Removes a table that makes no difference to a read: one without entries, or with zero entries
  /// only.
  func dropEmptyTable(_ slot: UInt64) -> Bool {
    lock.withLock {
      guard let upper = ownedTable(slot) else { return false }
      let index = Radix.index(slot, 2)
      let entry = upper[index]
      guard entry.isWritableTable else { return false }
      let table = Table(entry.frame, in: arena)
      let live = table.liveEntries
      // With mappings, a zero entry may be one that reads are not allowed to see.
      guard live == 0 || live == table.zeroEntries && hasMappings.load(.relaxed) == 0 else {
        return false
      }
      replace(upper, index, .none)
      retire(entry, level: 1)
      prune(slot)
      return true
    }
  }
}

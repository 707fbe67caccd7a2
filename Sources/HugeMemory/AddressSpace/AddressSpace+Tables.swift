import Frames
import Paging
import Primitives

// Changing tables. Everything here runs under the space's lock.
extension AddressSpace {
  /// The table of the level `target` that covers `offset`, owned by this space alone. Missing
  /// tables are made, and shared ones are copied. A failure leaves the tables made so far, which is
  /// a valid state.
  func exclusiveTable(_ offset: UInt64, _ target: Int) throws(MemoryError) -> Table {
    // The usual case comes first and without the closures below, which cost a reference count of
    // this space.
    let top = Entry(raw: root.load(.relaxed))
    var table =
      top.isWritableTable
      ? Table(top.frame, in: arena)
      : try exclusive(top, level: level) { storeRoot($0) }
    var depth = level
    while depth > target {
      let index = Radix.index(offset, depth)
      let parent = table
      let entry = parent[index]
      depth -= 1
      table =
        entry.isWritableTable
        ? Table(entry.frame, in: arena)
        : try exclusive(entry, level: depth) { parent.set(index, $0) }
    }
    return table
  }

  /// The table that an entry names, made or copied if need be. `install` stores a changed entry.
  func exclusive(
    _ entry: Entry, level: Int, install: (Entry) -> Void
  ) throws(MemoryError) -> Table {
    _ = makeScannable()
    if entry.kind == .none {
      let table = try makeTable()
      install(Entry(.table, table.frame, writable: true))
      return table
    }
    if entry.isWritable { return Table(entry.frame, in: arena) }
    if arena.hasOneReference(entry.frame) {
      // The other sharers are gone. The table's entries lost their `W` when one of them copied it.
      install(entry.madeWritable)
      regain(entry)
      return Table(entry.frame, in: arena)
    }
    let copy = try copyTable(Table(entry.frame, in: arena))
    install(Entry(.table, copy.frame, writable: true))
    machine.retire(.table(entry.frame, level: level))
    return copy
  }

  /// Copies a shared table. The entries of both tables lose their `W`, and everything that they map
  /// gets one more reference.
  private func copyTable(_ original: Table) throws(MemoryError) -> Table {
    let copy = try makeTable()
    machine.events.tableCopies.count()
    for index in 0..<Table.count {
      let entry = original[index]
      switch entry.kind {
      case .none: continue
      case .zero: if admitsZero(copy) { copy.set(index, entry) }
      case .small, .huge, .table:
        if entry != entry.shared { original.protect(index) }
        if entry.kind == .small {
          arena.retainSmall(entry.frame)
        } else {
          arena.retain(entry.frame)
        }
        copy.set(index, entry.shared)
      }
    }
    return copy
  }

  /// Whether a table may get another zero entry; takes the reference that the table needs for it.
  /// Never allocates (invariant 13). While the page is being revoked the answer is no; the entry
  /// then stays none, which reads the same.
  private func admitsZero(_ table: Table) -> Bool {
    switch machine.zeroReference {
    case .perTable: table.zeroEntries > 0 || machine.getPublishedZeroPage()
    case .perMapping: machine.getPublishedZeroPage()
    case .neverFreed: true
    }
  }

  /// The scanners' reference to this space. Made on the first call; the scanners know the space
  /// from then on.
  func makeScannable() -> ScanHandle {
    if let scanHandle { return scanHandle }
    let handle = ScanHandle(self)
    scanHandle = handle
    machine.scanList.add(handle)
    return handle
  }

  /// Replaces an entry. References on the zero page that the table no longer needs are given back
  /// after a grace period. If the table needs one now, the caller knows that another entry holds
  /// the page.
  func replace(_ table: Table, _ index: Int, _ entry: Entry) {
    let before = machine.zeroReferences(of: table)
    table.set(index, entry)
    let after = machine.zeroReferences(of: table)
    if before > after { machine.retire(.zero(before - after)) }
    if after > before { _ = machine.zeroPage.getHeld(count: after - before) }
  }

  /// The level 1 table of a slot, owned by this space alone. Splits a zero or huge entry.
  func smallTable(_ upper: Table, _ index: Int) throws(MemoryError) -> Table {
    let entry = upper[index]
    switch entry.kind {
    case .none, .table, .small: return try exclusive(entry, level: 1) { upper.set(index, $0) }
    case .zero:
      let table = try makeTable()
      for slot in 0..<Table.count { table.set(slot, entry) }
      let references = machine.zeroReferences(of: table)
      if references > 0 { _ = machine.zeroPage.getHeld(count: references) }
      machine.events.splitPMD.count()
      replace(upper, index, Entry(.table, table.frame, writable: true))
      return table
    case .huge:
      let table = try makeTable()
      // `W` cannot decide this: a reply on its way to a socket may hold the frame too.
      let sole = arena.splitFrame(entry.frame)
      if sole {
        machine.events.splitPage.count()
      } else {
        arena.splitMapping(entry.frame)
      }
      for slot in 0..<Table.count {
        let small = Entry(
          .small, entry.frame + FrameNumber(slot), writable: sole && entry.isWritable)
        var part = entry.isHidden ? small.hidden : small
        if entry.isCharged { part = part.charged }
        table.set(slot, part.kept(entry.isKept))
      }
      machine.events.splitPMD.count()
      upper.set(index, Entry(.table, table.frame, writable: true))
      // From here on, pages are copied before they are written. A write that is still going through
      // the huge entry must land before that, or the copy misses it.
      if !sole && entry.isWritable { machine.flushTranslations() }
      return table
    }
  }
}

extension Machine {
  /// Makes a table without entries. If the arena is full, this reclaims before it fails. `own` is
  /// as in `Arena.allocate`. `urgent` is for a caller that will give back more memory.
  func makeTable(own: Int, urgent: Bool) throws(MemoryError) -> Table {
    var table = Table.make(in: arena, own: own)
    if table == nil {
      shrink()
      table = Table.make(in: arena, own: own, urgent: urgent)
    }
    guard let table else { throw full }
    events.tableAlloc.count()
    return table
  }
}

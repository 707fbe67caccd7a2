import Frames
import Paging
import Primitives

// Changing tables. Everything here runs under the space's lock.
extension AddressSpace {
  /// The table of `target` level that covers `offset`, owned by this space alone: missing tables
  /// are made, shared ones are copied. A failure leaves what was done so far, which is sound.
  func exclusiveTable(_ offset: UInt64, _ target: Int) throws(MemoryError) -> Table {
    // The usual case first and apart: the closures below cost a reference count of this space.
    let top = Entry(raw: root.load(.relaxed))
    var table =
      top.isWritableTable
      ? Table(top.frame, in: arena)
      : try exclusive(top, level: level) { root.store($0.raw, .release) }
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

  /// The table behind an entry, made or copied if need be; `install` puts a changed entry back.
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
    if arena.references(entry.frame) == 1 {
      // The other sharers are gone. Its entries lost their `W` when one of them copied it.
      install(entry.madeWritable)
      regain(entry)
      return Table(entry.frame, in: arena)
    }
    let copy = try copyTable(Table(entry.frame, in: arena))
    install(Entry(.table, copy.frame, writable: true))
    machine.retire(.table(entry.frame, level: level))
    return copy
  }

  /// A copy of a shared table. Both sides' entries lose their `W`, and all that they map gets one
  /// reference more.
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

  /// Whether a table may have one more zero entry: takes the reference that it needs for that. Never
  /// allocates (invariant 13). Where the page is being revoked there is none, and none is as good.
  private func admitsZero(_ table: Table) -> Bool {
    switch machine.zeroReference {
    case .perTable: table.zeroEntries > 0 || machine.getPublishedZeroPage()
    case .perMapping: machine.getPublishedZeroPage()
    case .neverFreed: true
    }
  }

  /// How scanners know of this space, from now on.
  func makeScannable() -> ScanHandle {
    if let scanHandle { return scanHandle }
    let handle = ScanHandle(self)
    scanHandle = handle
    machine.scanList.add(handle)
    return handle
  }

  /// Replaces an entry. The zero page's references that the table no longer needs are given back
  /// after a grace period; one that it needs now is taken from a page that the caller knows to be
  /// held by another entry.
  func replace(_ table: Table, _ index: Int, _ entry: Entry) {
    let before = machine.zeroReferences(of: table)
    table.set(index, entry)
    let after = machine.zeroReferences(of: table)
    if before > after { machine.retire(.zero(before - after)) }
    if after > before { _ = machine.zeroPage.getHeld(count: after - before) }
  }

  /// The level 1 table of a slot, owned by this space alone. A zero or huge entry is split.
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
      // Not by `W`: a reply on its way to a socket may hold the frame too.
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
      // From here on pages are copied before they are written. A write that is still on its way
      // through the huge entry must land before that, or the copy misses it.
      if !sole && entry.isWritable { machine.flushTranslations() }
      return table
    }
  }
}

extension Machine {
  /// A table without entries. A full arena is reclaimed from before this fails. `own`: as of
  /// `Arena.allocate`. `urgent`: for a caller that will give back more.
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

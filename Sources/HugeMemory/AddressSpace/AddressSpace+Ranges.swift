import Frames
import Paging

// Making a range of entries this space's own, and changing them. Everything here runs under the
// space's lock.
extension AddressSpace {
  /// Splits the huge or zero entries that a range only partly covers.
  func splitEdges(_ range: Range<UInt64>) throws(MemoryError) {
    for offset in [range.lowerBound, range.upperBound] where offset != Radix.start(offset, 2) {
      try splitSlot(offset)
    }
  }

  /// Splits a slot's huge or zero entry.
  func splitSlot(_ offset: UInt64) throws(MemoryError) {
    let kind = slot(offset).entry.kind
    guard kind == .huge || kind == .zero else { return }
    _ = try smallTable(exclusiveTable(offset, 2), Radix.index(offset, 2))
  }

  /// Makes all tables of a range this space's own, and splits the slots that the range only partly
  /// covers. A failure leaves what was done so far, which changes no contents.
  func own(_ range: Range<UInt64>) throws(MemoryError) {
    try splitEdges(range)
    guard Entry(raw: root.load(.relaxed)).kind == .table else { return }
    try own(exclusiveTable(range.lowerBound, level), level, 0, range)
  }

  private func own(
    _ table: Table, _ level: Int, _ base: UInt64, _ range: Range<UInt64>
  ) throws(MemoryError) {
    for index in Self.slots(level, base, range) {
      let entry = table[index]
      guard entry.kind == .table else { continue }
      let lower = try exclusive(entry, level: level - 1) { table.set(index, $0) }
      if level > 2 {
        try own(lower, level - 1, base + UInt64(index) * Radix.span(level), range)
      }
    }
  }

  /// Marks what a range maps as kept, so that reclaim does not make holes of it.
  func keep(_ range: Range<UInt64>) throws(MemoryError) {
    guard Entry(raw: root.load(.relaxed)).kind == .table else { return }
    try own(exclusiveTable(range.lowerBound, level), level, 0, range)
    updateEntries(in: range) { $0.kind == .zero ? $0 : $0.kept() }
  }

  /// Changes every entry of a range that `own` has prepared. `change` must not turn none or zero
  /// into anything else, or anything else into none or zero.
  func updateEntries(in range: Range<UInt64>, _ change: (Entry) -> Entry) {
    let entry = Entry(raw: root.load(.relaxed))
    guard entry.kind == .table else { return }
    update(Table(entry.frame, in: arena), level, 0, range, change)
  }

  private func update(
    _ table: Table, _ level: Int, _ base: UInt64, _ range: Range<UInt64>,
    _ change: (Entry) -> Entry
  ) {
    for index in Self.slots(level, base, range) {
      let entry = table[index]
      switch entry.kind {
      case .none: continue
      case .table:
        let start = base + UInt64(index) * Radix.span(level)
        update(Table(entry.frame, in: arena), level - 1, start, range, change)
      case .zero, .small, .huge: table.set(index, change(entry))
      }
    }
  }

  /// The slots of a table that a range touches.
  private static func slots(_ level: Int, _ base: UInt64, _ range: Range<UInt64>) -> Range<Int> {
    let end = base + Radix.span(level + 1)
    let part = range.clamped(to: base..<end)
    guard !part.isEmpty else { return 0..<0 }
    return Radix.index(part.lowerBound, level)..<Radix.index(part.upperBound - 1, level) + 1
  }
}

import Frames
import Paging

extension AddressSpace {
  /// Moves mappings and memory to another place, in place of what was there (`mremap`,
  /// `MREMAP_FIXED`). Entries move whole, with their references: nothing is copied, and zero stays
  /// zero (history item 12). Huge entries stay huge if both places have the same offset within 2
  /// MiB.
  ///
  /// `target` is the first offset of the new place, and both places consist of whole pages of 4 KiB.
  /// Throws `notMapped` if the source has a gap, `overlappingMove`, or `outOfMemory` for a table;
  /// then nothing has changed. When this returns, no access through the old place is still going
  /// on.
  ///
  /// - Complexity: O(slots of 2 MiB) if both places have the same offset within 2 MiB, else
  ///   O(pages).
  public func move(_ range: Range<UInt64>, to target: UInt64) throws(MemoryError) {
    try move(
      from: range.lowerBound, to: target, length: range.upperBound - range.lowerBound)
  }

  /// As `move(_:to:)`.
  package func move(
    from source: UInt64, to target: UInt64, length: UInt64
  ) throws(MemoryError) {
    let from = try pages(source, length)
    let to = try pages(target, length)
    guard from.count == to.count else {
      throw .outOfRange(offset: target, length: UInt64(from.count), size: size)
    }
    guard !from.overlaps(to) else {
      throw .overlappingMove(from: source, to: target, length: length)
    }
    try change { () throws(MemoryError) in
      // Linux moves what there is, unless the gap is at the beginning.
      if let gap = mappings?.firstGap(in: from),
        gap == from.lowerBound || !machine.policy.followsLinux
      {
        throw .notMapped(offset: gap)
      }
      let moves = parts(of: from).map { part in
        let start = to.lowerBound + (part.range.lowerBound - from.lowerBound)
        return Move(
          mapping: part.mapping, from: part.range, to: start..<start + UInt64(part.range.count))
      }
      var filled: Set<UInt64> = []
      for move in moves { try prepare(move, &filled) }
      for move in moves {
        for slot in move.slots { commit(move, slot) }
      }
      for move in moves {
        mappings?.remove(move.to)
        // A table of the target that got no entries is dropped.
        for offset in [move.to.lowerBound, move.to.upperBound - 1]
        where !filled.contains(Radix.start(offset, 2)) {
          dropUnmappedTable(offset)
        }
        moveMapping(move)
      }
      for move in moves {
        dropUnmappedTable(move.from.lowerBound)
        dropUnmappedTable(move.from.upperBound - 1)
      }
    }
    machine.flushTranslations()
    machine.settle()
  }

  /// A move of the part of a range that lies within one mapping.
  private struct Move {
    let mapping: Mapping
    let from: Range<UInt64>
    let to: Range<UInt64>

    /// Whether slots of the source become slots of the target.
    var isAligned: Bool { (from.lowerBound ^ to.lowerBound) & (Radix.span(2) - 1) == 0 }
    /// The target, cut at slots.
    var slots: some Sequence<Range<UInt64>> {
      let span = Radix.span(2)
      return stride(from: Radix.start(to.lowerBound, 2), to: to.upperBound, by: Int(span)).lazy.map
      {
        to.clamped(to: $0..<$0 + span)
      }
    }
    func isWhole(_ slot: Range<UInt64>) -> Bool { isAligned && slot.count == Radix.span(2) }
    func source(_ offset: UInt64) -> UInt64 { from.lowerBound + (offset - to.lowerBound) }
  }

  /// Does everything that can fail: makes tables this space's own, splits entries, and makes
  /// missing tables. Adds the slots of the target that something is moved to to `filled`.
  private func prepare(_ move: Move, _ filled: inout Set<UInt64>) throws(MemoryError) {
    try own(move.from)
    try own(move.to)
    for slot in move.slots {
      let first = move.source(slot.lowerBound)
      let last = move.source(slot.upperBound - 1)
      // Linux makes a table in the target for each table in the source, even an empty one.
      let hasTable = [first, last].contains { self.slot($0).entry.kind == .table }
      let isEmpty = isHole(first..<last + 1) && !(machine.policy.followsLinux && hasTable)
      if !isEmpty { filled.insert(Radix.start(slot.lowerBound, 2)) }
      if move.isWhole(slot) {
        if !isEmpty { _ = try exclusiveTable(slot.lowerBound, 2) }
        continue
      }
      for offset in [first, last] { try splitSlot(offset) }
      let kind = self.slot(slot.lowerBound).entry.kind
      if !isEmpty || kind == .huge || kind == .zero {
        let upper = try exclusiveTable(slot.lowerBound, 2)
        _ = try smallTable(upper, Radix.index(slot.lowerBound, 2))
      }
    }
  }

  private func isHole(_ range: Range<UInt64>) -> Bool {
    var at = range.lowerBound
    while at < range.upperBound {
      let (kind, end) = kind(at, upTo: range.upperBound)
      guard kind == .hole else { return false }
      at = end
    }
    return true
  }

  /// Moves the entries for one slot of the target.
  private func commit(_ move: Move, _ slot: Range<UInt64>) {
    if move.isWhole(slot) {
      return moveEntry(place(move.source(slot.lowerBound), 2), place(slot.lowerBound, 2), level: 1)
    }
    var at = slot.lowerBound
    while at < slot.upperBound {
      moveEntry(place(move.source(at), 1), place(at, 1), level: 0)
      at += Radix.span(1)
    }
  }

  private func moveEntry(_ from: (Table, Int)?, _ to: (Table, Int)?, level: Int) {
    // If the target has no table, `prepare` found nothing to move there.
    guard let (table, index) = to else { return }
    let old = table[index]
    let entry = from.map { $0.0[$0.1] } ?? .none
    guard old != .none || entry != .none else { return }
    // In this order, the zero page is held throughout.
    replace(table, index, entry)
    if let from { replace(from.0, from.1, .none) }
    retire(old, level: level)
  }

  /// The table of the level `target` that covers an offset, and the index in it; nil if there is
  /// none. The tables above it are this space's own.
  private func place(_ offset: UInt64, _ target: Int) -> (Table, Int)? {
    var entry = Entry(raw: root.load(.relaxed))
    var depth = level
    while entry.kind == .table {
      let table = Table(entry.frame, in: arena)
      let index = Radix.index(offset, depth)
      if depth == target { return (table, index) }
      entry = table[index]
      depth -= 1
    }
    return nil
  }

  private func moveMapping(_ move: Move) {
    var mapping = move.mapping
    // An untouched mapping counts as mapped at its new place.
    mapping.origin =
      mapping.isTouched
      ? mapping.origin &+ (move.from.lowerBound - mapping.start) : move.to.lowerBound
    mapping.start = move.to.lowerBound
    mapping.end = move.to.upperBound
    mappings?.remove(move.from)
    mappings?.insert(mapping)
  }
}

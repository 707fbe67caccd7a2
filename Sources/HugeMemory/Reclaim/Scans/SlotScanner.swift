import Paging

/// Goes through a machine's spaces slot by slot, a portion at a time: a clock hand for scanners.
///
/// Not thread safe: one owner at a time. What it does to spaces is.
struct SlotScanner: ~Copyable {
  /// Where to go on.
  private var position = 0
  private var offset: UInt64 = 0
  /// Times that it has been through all spaces.
  private(set) var fullScans = 0

  /// Calls `visit` with slots whose entries are of the kinds wanted, until `entries` entries of 4 KiB
  /// were passed or the end of the last space was reached. `visit` returns false to stop. It must
  /// not let the space escape. `enter` comes before the first slot of a space, while nobody is at it
  /// yet, and returns false to pass it by. Returns the entries left over at the end of the last space.
  @discardableResult
  mutating func scan(
    _ machine: Machine, entries: Int, _ isWanted: (Entry.Kind) -> Bool,
    entering enter: (ScanHandle) -> Bool = { _ in true },
    _ visit: (AddressSpace, _ slot: UInt64) -> Bool
  ) -> Int {
    var budget = entries
    var entered: Int?
    while budget > 0 {
      guard let handle = machine.scanList.handle(at: position) else {
        position = 0
        offset = 0
        fullScans += 1
        return budget
      }
      let isEntered = entered == position || enter(handle)
      entered = position
      // A slot at a time, since a space cannot go meanwhile.
      let from = offset
      let step =
        !isEntered
        ? nil
        : handle.withSpace { space -> (slot: UInt64, goesOn: Bool)? in
          guard let slot = space.nextSlot(from: from, isWanted) else { return nil }
          return (slot, visit(space, slot))
        } ?? nil
      guard let step else {
        position += 1
        offset = 0
        budget -= 1
        continue
      }
      offset = step.slot + Radix.span(2)
      budget -= Table.count
      guard step.goesOn else { return 0 }
    }
    return 0
  }

  /// As `scan`, but past the end it goes on at the start, once: where memory is small the end is
  /// always near.
  mutating func scanAround(
    _ machine: Machine, entries: Int, _ isWanted: (Entry.Kind) -> Bool,
    entering enter: (ScanHandle) -> Bool = { _ in true },
    _ visit: (AddressSpace, _ slot: UInt64) -> Void
  ) {
    var left = entries
    for _ in 0..<2 where left > 0 {
      left = scan(machine, entries: left, isWanted, entering: enter) { space, slot in
        visit(space, slot)
        return true
      }
    }
  }
}

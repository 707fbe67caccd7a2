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
  /// not let the space escape. Returns the entries left over at the end of the last space.
  @discardableResult
  mutating func scan(
    _ machine: Machine, entries: Int, _ isWanted: (Entry.Kind) -> Bool,
    _ visit: (AddressSpace, _ slot: UInt64) -> Bool
  ) -> Int {
    var budget = entries
    while budget > 0 {
      guard let handle = machine.scanList.handle(at: position) else {
        position = 0
        offset = 0
        fullScans += 1
        return budget
      }
      // A slot at a time, since a space cannot go meanwhile.
      let from = offset
      let step =
        handle.withSpace { space -> (slot: UInt64, goesOn: Bool)? in
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
}

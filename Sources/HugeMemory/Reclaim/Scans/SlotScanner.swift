import Paging

/// Goes through a machine's spaces slot by slot, a portion at a time, like the hand of a clock.
///
/// Not thread safe: one owner at a time. What it does to spaces is thread safe.
struct SlotScanner: ~Copyable {
  /// Where to continue.
  private var position = 0
  private var offset: UInt64 = 0
  /// How often it has been through all spaces.
  private(set) var fullScans = 0

  /// Calls `visit` with each slot whose entry is of a wanted kind, until it has passed `entries`
  /// entries of 4 KiB or the end of the last space. `visit` returns false to stop, and must not let
  /// the space escape. `enter` is called before the first slot of a space, when the scanner does
  /// not use the space yet, and returns false to skip the space. Returns how many of `entries` are
  /// left at the end of the last space.
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
      // One slot at a time, because the space cannot go meanwhile.
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

  /// As `scan`, but continues at the start once when it reaches the end. If there is little memory,
  /// the end is always near.
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

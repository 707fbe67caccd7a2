import Paging

/// Shares again what forks wrote that equals their origin's memory. Each call continues where the
/// last one ended. While it scans a space, it holds a fork of the space's origin.
@safe final class EqualToOriginShrinker: Shrinker, @unchecked Sendable {
  // Sendable: (C), and (L) because one thread at a time scans.
  let name = "equal-to-origin"
  let seeks = 8
  let batch = 4 * Table.count
  private unowned let machine: Machine
  /// (L) the registry's.
  private var scanner = SlotScanner()

  init(machine: Machine) { self.machine = machine }

  /// Without forks there is nothing to look at. While contents are loaded, the origin's memory may not be
  /// what it will be, so that nothing may be shared with it.
  func count() -> Int {
    machine.events.liveForks == 0 || machine.absentContents != 0 ? 0 : machine.mappedEntries
  }

  func scan(_ target: Int) -> Int? {
    guard machine.absentContents == 0 else { return nil }
    var freed = 0
    var origin: AddressSpace?
    scanner.scanAround(
      machine, entries: target, { $0 == .huge || $0 == .table },
      entering: { handle in
        // Never two handles at once: the origin is forked first, and then its fork is compared.
        let source = handle.withSpace { $0.originHandle } ?? nil
        origin = source?.withSpace { $0.forkToCompare() } ?? nil
        return origin != nil
      }
    ) { space, slot in
      if let origin { freed += space.shareEqual(slot, with: origin) }
    }
    return freed
  }
}

import Paging

/// Shares again what forks wrote that equals their origin's: a space at a time, each call going on
/// where the last one ended. For the time of a call it holds a fork of the origin.
@safe final class EqualToOriginShrinker: Shrinker, @unchecked Sendable {
  // Sendable: (C), and (L) since one thread at a time scans.
  let name = "equal-to-origin"
  let seeks = 8
  let batch = 4 * Table.count
  private unowned let machine: Machine
  /// (L) the registry's: where to go on.
  private var position = 0
  private var offset: UInt64 = 0

  init(machine: Machine) { self.machine = machine }

  /// Without a fork there is nothing to look at.
  func count() -> Int { machine.events.liveForks == 0 ? 0 : machine.mappedEntries }

  func scan(_ target: Int) -> Int? {
    var freed = 0
    var budget = target
    var isAgain = false
    while budget > 0 {
      guard let handle = machine.scanList.handle(at: position) else {
        position = 0
        offset = 0
        // On at the start, once.
        if isAgain { break }
        isAgain = true
        continue
      }
      freed += scan(handle, &budget)
    }
    return freed
  }

  private func scan(_ handle: ScanHandle, _ budget: inout Int) -> Int {
    budget -= 1
    // Never two handles at once: the origin is forked first, then its fork is looked at.
    let source = handle.withSpace { $0.originHandle } ?? nil
    guard let origin = source?.withSpace({ $0.forkToCompare() }) ?? nil else {
      position += 1
      offset = 0
      return 0
    }
    var freed = 0
    while budget > 0 {
      let from = offset
      let slot =
        handle.withSpace { space -> UInt64? in
          guard let slot = space.nextSlot(from: from, { $0 == .huge || $0 == .table }) else {
            return nil
          }
          freed += space.shareEqual(slot, with: origin)
          return slot
        } ?? nil
      guard let slot else {
        position += 1
        offset = 0
        return freed
      }
      offset = slot + Radix.span(2)
      budget -= Table.count
    }
    return freed
  }
}

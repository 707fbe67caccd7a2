import Frames
import Paging

/// Goes through a machine's spaces and collapses slots of small pages into huge frames where the
/// policy allows it: the work of `khugepaged`, a portion at a time.
///
/// Not thread safe: one owner at a time. What it does to spaces is.
public struct CollapseScanner: ~Copyable {
  private let machine: Machine
  /// Where to go on.
  private var position = 0
  private var offset: UInt64 = 0
  /// Times that it has been through all spaces.
  public private(set) var fullScans = 0

  public init(machine: Machine) { self.machine = machine }

  /// Looks at `entries` entries of 4 KiB, by default as many as the policy says, or until all
  /// spaces were looked at. Returns how many slots became huge.
  ///
  /// - Complexity: O(`entries`), and a copy of 2 MiB for each slot that becomes huge.
  public mutating func scan(entries: Int? = nil) -> Int {
    let policy = machine.policy
    var budget = entries ?? Int(policy.pagesToScan)
    let limits = AddressSpace.CollapseLimits.scanned(
      none: Int(policy.maxPtesNone), shared: Int(policy.maxPtesShared))
    var collapsed = 0
    while budget > 0 {
      guard let (space, found) = machine.scanList.first(from: position) else {
        position = 0
        offset = 0
        fullScans += 1
        break
      }
      if found != position { offset = 0 }
      position = found
      guard let slot = space.nextSmallSlot(from: offset) else {
        position += 1
        offset = 0
        budget -= 1
        continue
      }
      offset = slot + Radix.span(2)
      budget -= Table.count
      do throws(MemoryError) {
        if try space.collapseSlot(slot, limits) { collapsed += 1 }
      } catch {
        // Memory is short: huge frames can wait. Other reasons hold for this slot alone.
        if case .outOfMemory = error { break }
      }
    }
    return collapsed
  }
}

extension AddressSpace {
  /// The first slot at or behind an offset that is mapped small.
  func nextSmallSlot(from offset: UInt64) -> UInt64? {
    var at = offset
    while at < size {
      let section = grace.enter()
      let (isTable, span) = tableAt(at)
      section.leave()
      if isTable { return at & ~(Radix.span(2) - 1) }
      at = (at | (span - 1)) + 1
    }
    return nil
  }

  /// Within a section: whether a slot is mapped small, or how much around it holds no such slot.
  private func tableAt(_ offset: UInt64) -> (Bool, span: UInt64) {
    var entry = Entry(raw: root.load(.acquire))
    var depth = level
    while entry.kind == .table {
      if depth == 1 { return (true, Radix.span(2)) }
      entry = Table(entry.frame, in: arena)[Radix.index(offset, depth)]
      depth -= 1
    }
    return (false, Radix.span(depth + 1))
  }
}

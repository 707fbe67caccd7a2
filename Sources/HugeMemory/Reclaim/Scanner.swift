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
      guard let handle = machine.scanList.handle(at: position) else {
        position = 0
        offset = 0
        fullScans += 1
        break
      }
      // A slot at a time, since a space cannot go meanwhile.
      let step = handle.withSpace { scanSlot(of: $0, from: offset, limits) } ?? .end
      switch step {
      case .end:
        position += 1
        offset = 0
        budget -= 1
      case .slot(let slot, let isCollapsed):
        if isCollapsed { collapsed += 1 }
        offset = slot + Radix.span(2)
        budget -= Table.count
      case .full: return collapsed
      }
    }
    return collapsed
  }

  private enum Step {
    case slot(UInt64, isCollapsed: Bool)
    case end
    /// Memory is short: huge frames can wait.
    case full
  }

  private func scanSlot(
    of space: AddressSpace, from offset: UInt64, _ limits: AddressSpace.CollapseLimits
  ) -> Step {
    guard let slot = space.nextSlot(.table, from: offset) else { return .end }
    do throws(MemoryError) {
      return .slot(slot, isCollapsed: try space.collapseSlot(slot, limits))
    } catch {
      if case .outOfMemory = error { return .full }
      return .slot(slot, isCollapsed: false)
    }
  }
}

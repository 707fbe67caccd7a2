import Frames
import Paging

/// Goes through a machine's spaces and collapses slots of small pages into huge frames where the
/// policy allows it: the work of `khugepaged`, a portion at a time. You need it only for a machine
/// without a background; the background does this by itself.
///
/// - Thread safety: none; one owner at a time. What it does to spaces is thread safe.
public struct CollapseScanner: ~Copyable {
  private let machine: Machine
  private var scanner = SlotScanner()

  /// Makes a scanner. It holds a reference to the machine.
  public init(machine: Machine) { self.machine = machine }

  /// How often it has been through all spaces.
  package var fullScans: Int { scanner.fullScans }

  /// Looks at `entries` entries of 4 KiB, or as many as the policy says if nil, but at no more than
  /// all spaces once. Returns how many slots became huge.
  ///
  /// - Complexity: O(`entries`), and a copy of 2 MiB for each slot that becomes huge.
  public mutating func scan(entries: Int? = nil) -> Int {
    machine.collapse(&scanner, entries: entries ?? Int(machine.policy.pagesToScan))
  }
}

extension Machine {
  /// Collapses what the policy allows of the next `entries` entries of 4 KiB. Returns how many
  /// slots became huge.
  func collapse(_ scanner: inout SlotScanner, entries: Int) -> Int {
    let limits = AddressSpace.CollapseLimits.scanned(
      none: Int(policy.maxPtesNone), shared: Int(policy.maxPtesShared))
    var collapsed = 0
    scanner.scan(self, entries: entries, { $0 == .table }) { space, slot in
      do throws(MemoryError) {
        if try space.collapseSlot(slot, limits) { collapsed += 1 }
      } catch {
        // Memory is short: huge frames can wait.
        if case .outOfMemory = error { return false }
      }
      return true
    }
    return collapsed
  }
}

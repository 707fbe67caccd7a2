import MemoryPressure
import Primitives

/// A limit that follows what the system can spare. This is what the control group of this process,
/// every group above it and the computer have left, less a margin, and at most a ceiling. So the
/// process refuses memory to itself in time, and the kernel does not kill it for taking too much.
///
/// Others also take memory between two looks. So only half of what is left is granted at once, and
/// the rest at the next look. An allocation that finds the grant used up looks again, and so does
/// the background. What is promised is granted as far as there is memory for it.
///
/// - Thread safety: every method may be called on any thread.
public final class SystemBudget: MemoryBudget {
  private let group: ControlGroup?
  /// (A) In bytes; 0 if none was set.
  private let ceiling: AtomicWord
  /// (A) In bytes: all that the system could spare at the last look.
  private let potential = AtomicWord(0)

  /// `ceiling` is the highest limit, in bytes. The default is the control group's limit, or half of
  /// the computer's memory if the group has none. `group` is nil if there is no memory controller.
  public init(ceiling: UInt64? = nil, group: ControlGroup? = try? ControlGroup()) {
    self.group = group
    self.ceiling = AtomicWord(ceiling ?? 0)
  }

  /// The most that the machine may use now, in bytes.
  var limit: UInt64 { potential.load(.relaxed) }

  /// Changes the ceiling, in bytes, and returns the old one. 0 stands for the default.
  @discardableResult
  func setCeiling(_ bytes: UInt64) -> UInt64 {
    defer { ceiling.store(bytes, .relaxed) }
    return ceiling.load(.relaxed)
  }

  /// The margin that is left for others, and for other memory of this process: 1/16 of the limit,
  /// at least 4 MiB and at most 256 MiB.
  private static func margin(of limit: UInt64) -> UInt64 {
    min(max(limit / 16, 4 << 20), 256 << 20)
  }

  func follow(_ machine: Machine) {
    let totals = try? MemoryTotals()
    let total = totals?.total ?? .max
    let groupLimit = group?.limit
    let set = ceiling.load(.relaxed)
    let ceiling = set > 0 ? set : groupLimit ?? total / 2
    // The system already counts what is resident as used. What is in use but not resident hardly
    // counts.
    let resident = machine.memoryResident
    let left = min(group?.available ?? .max, totals?.available ?? .max)
    let margin = Self.margin(of: min(groupLimit ?? total, total))
    guard left != .max else {
      potential.store(min(ceiling, machine.capacity), .relaxed)
      machine.setGrant(min(ceiling, machine.capacity))
      return
    }
    let spare = left > margin ? left - margin : 0
    let missing = left < margin ? margin - left : 0
    potential.store(
      min(ceiling, machine.capacity, resident + spare - min(missing, resident)), .relaxed)
    // At least 4 MiB, so that a step is worth reading the files for.
    let step = max(spare / 2, min(spare, 4 << 20), min(spare, machine.memoryPromised))
    machine.setGrant(min(ceiling, resident + step - min(missing, resident)))
  }
}

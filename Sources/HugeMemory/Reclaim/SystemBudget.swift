import MemoryPressure
import Primitives

/// A limit that follows what the system can spare: what the control group of this process, all those
/// above it and the machine have left, less a margin, and no more than a ceiling. So the process is
/// refused memory by itself, in time, and not killed by the kernel for having taken it.
///
/// Others take memory too, between two looks. Of what is left only half is granted at once, and the
/// rest at the next look: by each allocation that finds the grant used up, and by the background.
/// What was promised is granted as far as it is there.
///
/// - Thread safety: every method may be called on any thread.
public final class SystemBudget: MemoryBudget {
  private let group: ControlGroup?
  /// (A) Bytes; 0: none was set.
  private let ceiling: AtomicWord
  /// (A) Bytes: all that could be had at the last look.
  private let potential = AtomicWord(0)

  /// `ceiling`: the most, in bytes; by default the control group's limit, and without one half of the
  /// machine's memory. Without a memory controller `group` is nil.
  public init(ceiling: UInt64? = nil, group: ControlGroup? = try? ControlGroup()) {
    self.group = group
    self.ceiling = AtomicWord(ceiling ?? 0)
  }

  /// The most that the machine may use now, in bytes.
  public var limit: UInt64 { potential.load(.relaxed) }

  /// Changes the ceiling, in bytes, and returns the old one; 0 stands for the default.
  @discardableResult
  public func setCeiling(_ bytes: UInt64) -> UInt64 {
    defer { ceiling.store(bytes, .relaxed) }
    return ceiling.load(.relaxed)
  }

  /// What is left for others, and for what this process has besides: 1/16 of the limit, from 4 to 256
  /// MiB.
  private static func margin(of limit: UInt64) -> UInt64 {
    min(max(limit / 16, 4 << 20), 256 << 20)
  }

  func follow(_ machine: Machine) {
    let totals = try? MemoryTotals()
    let total = totals?.total ?? .max
    let groupLimit = group?.limit
    let set = ceiling.load(.relaxed)
    let ceiling = set > 0 ? set : groupLimit ?? total / 2
    // What is resident counts as used there already; what is in use and not resident hardly is.
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
    // A step worth a look at the files.
    let step = max(spare / 2, min(spare, 4 << 20), min(spare, machine.memoryPromised))
    machine.setGrant(min(ceiling, resident + step - min(missing, resident)))
  }
}

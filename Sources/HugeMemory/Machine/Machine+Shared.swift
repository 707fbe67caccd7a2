import Glibc
import MemoryPressure

extension Machine {
  /// The machine of the process, as the heap is the process's allocator: made on its first use, and
  /// used where you name no other one.
  ///
  /// Its limit is what the system can spare: what the control group of this process, the groups
  /// above it and the computer have left, less a margin, and at most the group's limit or half of
  /// the computer's memory. `setLimit` lowers it. Under memory pressure the machine gives memory
  /// back. If the system has no address space or no thread for it, its first use ends the program
  /// with a message.
  ///
  /// - Thread safety: you may use it on any thread.
  public static let shared: Machine = {
    var limit = (try? MemoryTotals())?.total ?? 1 << 36
    var space = rlimit()
    if unsafe getrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &space) == 0 {
      // The program needs address space for the rest of its memory, too.
      limit = min(limit, UInt64(space.rlim_cur) / 4)
    }
    // The budget watches what the process itself uses of its control group.
    var options = PressureMonitor.Options()
    options.kinds.remove(.usage)
    let pressure = try? PressureMonitor(options: options)
    while true {
      do {
        return try Machine(
          limit: limit, background: .own(budget: SystemBudget(), pressure: pressure))
      } catch {
        // Less address space, as under `ulimit -v`, is still a machine.
        guard limit > 16 << 20 else { fatalError("the shared machine: \(error)") }
        limit /= 2
      }
    }
  }()
}

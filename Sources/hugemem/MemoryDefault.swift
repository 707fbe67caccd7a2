import Glibc
import MemoryPressure

/// How much memory a server takes for its limit if nobody says: half of what there is, be it the
/// machine's or the control group's. A full server answers ENOSPC, it is never killed for memory.
enum MemoryDefault {
  static var bytes: UInt64 {
    let pages = UInt64(max(0, sysconf(Int32(_SC_PHYS_PAGES))))
    let machine = pages * UInt64(sysconf(Int32(_SC_PAGESIZE)))
    let group = (try? ControlGroup())?.limit
    return max(min(machine, group ?? machine) / 2, 64 << 20)
  }
}

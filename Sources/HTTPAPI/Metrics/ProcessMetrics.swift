import ControlPlane
import Glibc

extension API {
  func addProcess(_ text: inout Exposition) {
    var usage = rusage()
    unsafe getrusage(0, &usage)
    let microseconds =
      (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1_000_000 + usage.ru_utime.tv_usec
      + usage.ru_stime.tv_usec
    text.add(Families.cpu) { $0.add("_total", [], "\(Double(microseconds) / 1_000_000)") }
    text.add(Families.resident) { $0.gauge(residentMemory()) }
    text.add(Families.descriptors) { $0.gauge(UInt64(max(0, Self.entries("/proc/self/fd") - 1))) }
    var limit = rlimit()
    unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    text.add(Families.mostDescriptors) { $0.gauge(UInt64(limit.rlim_cur)) }
    text.add(Families.threads) { $0.gauge(UInt64(Self.entries("/proc/self/task"))) }
    var now = timespec()
    unsafe clock_gettime(CLOCK_REALTIME, &now)
    text.add(Families.start) { $0.add("", [], "\(Double(now.tv_sec) - uptime)") }
  }

  /// The number of entries of a directory, without . and ..
  private static func entries(_ path: String) -> Int {
    guard let directory = unsafe opendir(path) else { return 0 }
    defer { unsafe closedir(directory) }
    var count = 0
    while unsafe readdir(directory) != nil { count += 1 }
    return max(0, count - 2)
  }
}

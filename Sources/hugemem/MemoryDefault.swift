import Glibc

/// How much memory a server takes for its limit if nobody says: half of what there is, be it the
/// machine's or the control group's. A full server answers ENOSPC, it is never killed for memory.
enum MemoryDefault {
  static var bytes: UInt64 {
    let pages = UInt64(max(0, sysconf(Int32(_SC_PHYS_PAGES))))
    let machine = pages * UInt64(sysconf(Int32(_SC_PAGESIZE)))
    return max(min(machine, controlGroup ?? machine) / 2, 64 << 20)
  }

  /// The smallest limit among this process's control group and those above, v2 or v1.
  private static var controlGroup: UInt64? {
    guard let groups = read("/proc/self/cgroup") else { return nil }
    var smallest: UInt64?
    for line in groups.split(separator: "\n") {
      let parts = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard parts.count == 3 else { continue }
      let places: [(root: String, file: String)] =
        if parts[1].isEmpty {
          [("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/unified", "memory.max")]
        } else if parts[1].split(separator: ",").contains("memory") {
          [("/sys/fs/cgroup/memory", "memory.limit_in_bytes")]
        } else {
          []
        }
      var path = String(parts[2])
      while !places.isEmpty {
        for place in places {
          if let text = read("\(place.root)\(path)/\(place.file)"), let limit = UInt64(text) {
            smallest = min(smallest ?? limit, limit)
          }
        }
        guard let slash = path.lastIndex(of: "/") else { break }
        path = String(path[..<slash])
      }
    }
    return smallest
  }

  /// A small file's text without the newline at its end.
  private static func read(_ path: String) -> String? {
    let file = unsafe open(path, O_RDONLY)
    guard file >= 0 else { return nil }
    defer { close(file) }
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = unsafe Glibc.read(file, &bytes, bytes.count)
    guard count > 0 else { return nil }
    var text = String(decoding: bytes[..<count], as: UTF8.self)
    while text.last == "\n" { text.removeLast() }
    return text
  }
}

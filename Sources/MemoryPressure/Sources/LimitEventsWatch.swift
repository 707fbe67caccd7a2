import Glibc

/// cgroup v2's counters of how often a limit was met.
///
/// `memory.events.local` counts what met this group's own limit; `memory.events` also what met one
/// below it, which for groups above ours would be our siblings' troubles.
struct LimitEventsWatch: Watch {
  let source: PressureSource
  let events = Int16(POLLPRI)
  var descriptor: Descriptor? { file.descriptor }
  private let file: OpenFile
  private let group: GroupFiles
  private let threshold: Double
  private var last: Counters

  private struct Counters {
    var high: UInt64 = 0
    var max: UInt64 = 0
    var oom: UInt64 = 0
  }

  /// Watches the group's folder; `isOwn` says that it is not one above. `threshold` is the fullness
  /// from which a limit that was met counts for more than `low`.
  init(
    _ directory: String, isOwn: Bool, threshold: Double, in tree: FileTree
  ) throws(PressureError) {
    do throws(PressureError) {
      file = try tree.open("\(directory)/memory.events.local")
    } catch {
      // Kernels before 5.2 have only the other.
      guard isOwn, case .system(_, _, ENOENT) = error else { throw error }
      file = try tree.open("\(directory)/memory.events")
    }
    group = GroupFiles(.v2, directory, in: tree)
    self.threshold = threshold
    // Until it was read, kernfs says at once that it changed.
    last = try Self.counters(file)
    source = PressureSource(
      kind: .limitEvents, path: file.path,
      detail: "high means medium, max and oom mean critical, and low while page cache fills it")
  }

  private static func counters(_ file: OpenFile) throws(PressureError) -> Counters {
    let record = try file.record()
    guard let high = record.number(after: "high"), let max = record.number(after: "max"),
      let oom = record.number(after: "oom")
    else {
      throw .malformed(path: file.path, found: record.start, expected: "lines high, max and oom")
    }
    return Counters(high: high, max: max, oom: oom)
  }

  /// kernfs says POLLERR with every POLLPRI: only the read tells whether the file is still there.
  mutating func answer(_ ready: Int16) throws(PressureError) -> PressureLevel {
    let now = try Self.counters(file)
    defer { last = now }
    if now.oom > last.oom { return .critical }
    guard now.max > last.max || now.high > last.high else { return .normal }
    // Reading files fills any group to its limit, and costs nobody anything: that is what the
    // cache is for. Where it cannot be told, the worse is assumed.
    if let fullness = (try? group.fullness()) ?? nil, fullness < threshold { return .low }
    return now.max > last.max ? .critical : .medium
  }
}

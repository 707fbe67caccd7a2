import Glibc

/// Watches the counters of cgroup v2 that say how often a limit was reached.
///
/// `memory.events.local` counts only events at this group's own limit. `memory.events` also counts
/// those of the groups below, which for a group above ours includes our siblings.
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

  /// Watches a group's directory. `isOwn` is false for a group above our own. `threshold` is the
  /// fullness from which reaching a limit means more than `low`.
  init(
    _ directory: String, isOwn: Bool, threshold: Double, in tree: FileTree
  ) throws(PressureError) {
    do throws(PressureError) {
      file = try tree.open("\(directory)/memory.events.local")
    } catch {
      // Kernels before 5.2 have only `memory.events`.
      guard isOwn, case .system(_, _, ENOENT) = error else { throw error }
      file = try tree.open("\(directory)/memory.events")
    }
    group = GroupFiles(.v2, directory, in: tree)
    self.threshold = threshold
    // Read it now: until the first read, poll reports at once that the file changed.
    last = try Self.counters(file)
    source = PressureSource(
      kind: .limitEvents, path: file.path,
      detail: "high means medium, max and oom mean critical; high and max mean low while page cache"
        + " fills the group")
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

  /// kernfs reports POLLERR with every POLLPRI, so only a read shows whether the file still exists.
  mutating func answer(_ ready: Int16) throws(PressureError) -> PressureLevel {
    let now = try Self.counters(file)
    defer { last = now }
    if now.oom > last.oom { return .critical }
    guard now.max > last.max || now.high > last.high else { return .normal }
    // Reading files fills any group to its limit with page cache, and that harms nobody. If the
    // fullness is unknown, assume the worse.
    if let fullness = (try? group.fullness()) ?? nil, fullness < threshold { return .low }
    return now.max > last.max ? .critical : .medium
  }
}

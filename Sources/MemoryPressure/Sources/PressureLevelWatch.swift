import Glibc

/// Watches `memory.pressure_level` of cgroup v1: the kernel adds to an event counter when reclaim
/// in a group finds too few pages to take (mm/vmpressure.c).
///
/// The counter of a level also receives the events of higher levels. So each level has its own
/// counter, and the highest level that has an event counts.
struct PressureLevelWatch: Watch {
  let source: PressureSource
  let descriptor: Descriptor?
  let events = Int16(POLLIN)
  private let tree: FileTree
  private let control: String
  private let level: PressureLevel

  /// Registers a counter with a group's directory. Reclaim at a limit above our group notifies only
  /// the group with that limit and those above it, so every group gets a watch. In groups above our
  /// own, `local` leaves out the events of our siblings.
  init(
    _ directory: String, isOwn: Bool, _ level: PressureLevel, in tree: FileTree
  ) throws(PressureError) {
    self.tree = tree
    self.level = level
    control = "\(directory)/cgroup.event_control"
    let counter = try Descriptor.eventCounter(tree.calls)
    let levels = try tree.open("\(directory)/memory.pressure_level")
    let mode = isOwn ? "" : ",local"
    // The kernel keeps its own references, so the two files need not stay open.
    try tree.open(control, O_WRONLY).write(
      "\(counter.number) \(levels.descriptor.number) \(level)\(mode)")
    descriptor = counter
    source = PressureSource(kind: .pressureLevel, path: levels.path, detail: "\(level)\(mode)")
  }

  mutating func answer(_ ready: Int16) throws(PressureError) -> PressureLevel {
    // If the counter cannot be drained, the next poll reports it again.
    if let descriptor { try? tree.calls.drain(descriptor.number) }
    // The kernel also adds to the counter when the group is removed. Only the path shows that.
    do throws(PressureError) {
      _ = try tree.open(control, O_WRONLY)
    } catch {
      if case .system(_, _, ENOENT) = error { throw .removed(path: source.path) }
      // Any other failure, such as no free descriptor, must not lose the event.
    }
    return level
  }
}

extension Descriptor {
  static func eventCounter(_ calls: any SystemCalls) throws(PressureError) -> Descriptor {
    do {
      return Descriptor(try calls.eventCounter(), calls)
    } catch { throw .system(call: "eventfd", path: "an event counter", errno: error.code) }
  }
}

import Glibc

/// cgroup v1's `memory.pressure_level`: an event counter that the kernel adds to when reclaim in a
/// group finds too few pages to take (mm/vmpressure.c).
///
/// A level's counter is also told of the higher ones, so each level has a counter, and the highest
/// that speaks counts.
struct PressureLevelWatch: Watch {
  let source: PressureSource
  let descriptor: Descriptor?
  let events = Int16(POLLIN)
  private let tree: FileTree
  private let control: String
  private let level: PressureLevel

  /// Registers with the group's folder. Reclaim for a limit above tells only that group and those
  /// above it, so each is asked; there, `local` keeps our siblings' troubles out.
  init(
    _ directory: String, isOwn: Bool, _ level: PressureLevel, in tree: FileTree
  ) throws(PressureError) {
    self.tree = tree
    self.level = level
    control = "\(directory)/cgroup.event_control"
    let counter = try Descriptor.eventCounter(tree.calls)
    let levels = try tree.open("\(directory)/memory.pressure_level")
    let mode = isOwn ? "" : ",local"
    // The kernel keeps what it needs: the two files need not stay open.
    try tree.open(control, O_WRONLY).write(
      "\(counter.number) \(levels.descriptor.number) \(level)\(mode)")
    descriptor = counter
    source = PressureSource(kind: .pressureLevel, path: levels.path, detail: "\(level)\(mode)")
  }

  mutating func answer(_ ready: Int16) throws(PressureError) -> PressureLevel {
    // A counter that is not drained, for whatever reason, speaks again at the next poll.
    if let descriptor { try? tree.calls.drain(descriptor.number) }
    // The kernel also adds to it when the group is removed; only the name tells.
    do throws(PressureError) {
      _ = try tree.open(control, O_WRONLY)
    } catch {
      if case .system(_, _, ENOENT) = error { throw .removed(path: source.path) }
      // Anything else, such as no free descriptor, is no reason to lose the event.
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

import Glibc

/// Opens every source that the machine offers. A source that cannot be used is recorded with the
/// reason, and the others are still tried.
struct SourceFinder {
  let tree: FileTree
  let options: PressureMonitor.Options
  private(set) var watches: [any Watch] = []
  private(set) var unavailable: [UnavailableSource] = []

  init(_ options: PressureMonitor.Options, in tree: FileTree) {
    self.tree = tree
    self.options = options
    if options.kinds.contains(.systemStall) { stalls(.systemStall, "/proc/pressure/memory") }
    findGroup(.v2, [.groupStall, .limitEvents])
    findGroup(.v1, [.pressureLevel])
    if options.kinds.contains(.usage) { usage() }
  }

  private mutating func stalls(_ kind: PressureSource.Kind, _ path: String) {
    for trigger in options.stalls {
      attempt(kind, tree.path(path), trigger.detail) { [tree] () throws(PressureError) in
        try StallWatch(kind, path, trigger, in: tree)
      }
    }
  }

  private mutating func findGroup(
    _ version: ControlGroup.Version, _ offered: [PressureSource.Kind]
  ) {
    let kinds = offered.filter(options.kinds.contains)
    guard !kinds.isEmpty else { return }
    do throws(PressureError) {
      let directories = try GroupDirectories.find(version, in: tree)
      for kind in kinds {
        switch kind {
        case .groupStall: stalls(kind, "\(directories[0])/memory.pressure")
        case .limitEvents: limitEvents(directories)
        default: pressureLevels(directories)
        }
      }
    } catch {
      for kind in kinds { refuse(kind, tree.path("/sys/fs/cgroup"), "cgroup \(version)", error) }
    }
  }

  private mutating func limitEvents(_ directories: [String]) {
    for directory in directories {
      let isOwn = directory == directories[0]
      attempt(.limitEvents, tree.path(directory), "memory.events", isOwn: isOwn) {
        [tree, options] () throws(PressureError) in
        try LimitEventsWatch(
          directory, isOwn: isOwn, threshold: options.usage.medium, in: tree)
      }
    }
  }

  private mutating func pressureLevels(_ directories: [String]) {
    for directory in directories {
      let isOwn = directory == directories[0]
      for level in [PressureLevel.low, .medium, .critical] {
        attempt(.pressureLevel, tree.path(directory), "\(level)", isOwn: isOwn) {
          [tree] () throws(PressureError) in
          try PressureLevelWatch(directory, isOwn: isOwn, level, in: tree)
        }
      }
    }
  }

  private mutating func usage() {
    let group: ControlGroup
    do throws(PressureError) {
      group = try ControlGroup(in: tree)
    } catch {
      return refuse(.usage, tree.path("/sys/fs/cgroup"), "use against the limit", error)
    }
    var isLimited = false
    for files in group.groups {
      let source = UsageWatch.source(files.directory, options.usage)
      for problem in files.problems {
        unavailable.append(UnavailableSource(source: source, reason: problem))
      }
      attempt(.usage, source.path, source.detail) { [options] () throws(PressureError) in
        try UsageWatch(files, options.usage)
      }
      isLimited = isLimited || watches.last?.source == source
    }
    let hasReason = unavailable.contains { $0.source.kind == .usage }
    if !isLimited, !hasReason {
      let source = UsageWatch.source(group.directory, options.usage)
      refuse(.usage, source.path, source.detail, .noLimit(group: group.directory))
    }
  }

  /// Opens one source. A missing file in a group above our own is not a failure, since the root
  /// group never has these files.
  private mutating func attempt(
    _ kind: PressureSource.Kind, _ path: String, _ detail: String, isOwn: Bool = true,
    _ open: () throws(PressureError) -> (any Watch)?
  ) {
    do throws(PressureError) {
      if let watch = try open() { watches.append(watch) }
    } catch {
      if !isOwn, case .system(_, _, ENOENT) = error { return }
      refuse(kind, path, detail, error)
    }
  }

  private mutating func refuse(
    _ kind: PressureSource.Kind, _ path: String, _ detail: String, _ reason: PressureError
  ) {
    let source = PressureSource(kind: kind, path: path, detail: detail)
    unavailable.append(UnavailableSource(source: source, reason: reason))
  }
}

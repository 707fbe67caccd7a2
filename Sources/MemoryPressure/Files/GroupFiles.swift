import Glibc

/// One control group's memory files, kept open: what it may use, uses, and could drop.
struct GroupFiles: Sendable {
  let directory: String
  private let limits: [OpenFile]
  private let used: OpenFile?
  private let statistics: OpenFile?
  private let reclaimableNames: [String]
  /// Files that are there and cannot be opened.
  let problems: [PressureError]

  init(_ version: ControlGroup.Version, _ directory: String, in tree: FileTree) {
    var problems: [PressureError] = []
    func open(_ name: String) -> OpenFile? {
      do throws(PressureError) {
        return try tree.open("\(directory)/\(name)")
      } catch {
        // The root has no limits, and kernels before 4.20 do not have all files.
        if case .system(_, _, ENOENT) = error { return nil }
        problems.append(error)
        return nil
      }
    }
    self.directory = tree.path(directory)
    switch version {
    case .v1:
      limits = ["memory.limit_in_bytes"].compactMap(open)
      used = open("memory.usage_in_bytes")
      reclaimableNames = ["total_inactive_file", "total_active_file"]
    case .v2:
      limits = ["memory.max", "memory.high"].compactMap(open)
      used = open("memory.current")
      reclaimableNames = ["inactive_file", "active_file"]
    }
    statistics = open("memory.stat")
    self.problems = problems
  }

  /// The smaller of the limits, read now; nil if there is none.
  func limit() throws(PressureError) -> UInt64? {
    var smallest: UInt64?
    for file in limits {
      let record = try file.record()
      if record.isWordMax { continue }
      guard let number = record.number else {
        throw .malformed(path: file.path, found: record.start, expected: "a number of bytes")
      }
      // v1's "none" is the largest whole number of pages, whatever the size of those.
      if number < 0x7fff_ffff_ffff_0000 { smallest = min(smallest ?? number, number) }
    }
    return smallest
  }

  func usage() throws(PressureError) -> UInt64? {
    guard let used else { return nil }
    let record = try used.record()
    guard let number = record.number else {
      throw .malformed(path: used.path, found: record.start, expected: "a number of bytes")
    }
    return number
  }

  /// The page cache of files, active or not. Shared memory is not among it: that needs swap.
  func reclaimable() throws(PressureError) -> UInt64? {
    guard let statistics else { return nil }
    let record = try statistics.record()
    var sum: UInt64 = 0
    for name in reclaimableNames {
      guard let number = record.number(after: name) else {
        throw .malformed(path: statistics.path, found: record.start, expected: "a line \(name)")
      }
      sum &+= number
    }
    return sum
  }

  /// How much of the limit is used by what cannot be dropped; nil without a limit or a usage.
  /// Statistics cost the most, and are not asked for if all of the usage is below `enough`.
  func fullness(enough: Double = 0) throws(PressureError) -> Double? {
    guard let limit = try limit(), let usage = try usage() else { return nil }
    guard limit > 0 else { return 1 }
    let gross = Double(usage) / Double(limit)
    if gross < enough { return gross }
    let kept = usage - min(usage, try reclaimable() ?? 0)
    return Double(kept) / Double(limit)
  }

  /// What may still be used under this group's limit.
  func available() throws(PressureError) -> UInt64? {
    guard let limit = try limit(), let usage = try usage() else { return nil }
    // Without statistics, nothing is known to be reclaimable.
    let kept = usage - min(usage, (try? reclaimable()) ?? 0)
    return limit - min(limit, kept)
  }
}

import Glibc

/// The memory files of one control group, kept open: its limits, its usage, and what it could drop.
struct GroupFiles: Sendable {
  let directory: String
  private let limits: [OpenFile]
  private let used: OpenFile?
  private let statistics: OpenFile?
  private let reclaimableNames: [String]
  /// Why some existing files could not be opened.
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

  /// Reads the limits and returns the smaller one, in bytes; nil if there is none.
  func limit() throws(PressureError) -> UInt64? {
    var smallest: UInt64?
    for file in limits {
      let record = try file.record()
      if record.isWordMax { continue }
      guard let number = record.number else {
        throw .malformed(path: file.path, found: record.start, expected: "a number of bytes")
      }
      // v1 says "no limit" by the largest whole number of pages, which depends on the page size.
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

  /// The page cache of files, active and inactive, in bytes. Shared memory does not count, since
  /// the kernel would have to swap it out.
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

  /// The fraction of the limit that is used by memory which cannot be dropped; nil if the group has
  /// no limit or no usage file. Reading `memory.stat` costs the most, so if even the whole usage is
  /// below the fraction `enough`, it is not read and the result includes page cache.
  func fullness(enough: Double = 0) throws(PressureError) -> Double? {
    guard let limit = try limit(), let usage = try usage() else { return nil }
    guard limit > 0 else { return 1 }
    let gross = Double(usage) / Double(limit)
    if gross < enough { return gross }
    let kept = usage - min(usage, try reclaimable() ?? 0)
    return Double(kept) / Double(limit)
  }

  /// How many more bytes may be used below this group's limit; nil if it has none.
  func available() throws(PressureError) -> UInt64? {
    guard let limit = try limit(), let usage = try usage() else { return nil }
    // If the statistics cannot be read, count nothing as reclaimable.
    let kept = usage - min(usage, (try? reclaimable()) ?? 0)
    return limit - min(limit, kept)
  }
}

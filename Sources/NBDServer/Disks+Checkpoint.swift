package import HugeMemory

// Saving disks and bringing them back.
extension Disks {
  /// A disk and its contents at one point, which is the same for all that were asked for together.
  package struct AtOnePoint: Sendable {
    package let disk: Disk
    package let contents: AddressSpace
    /// What it was forked from, as it was then.
    package let origin: (name: String, size: UInt64, contents: AddressSpace)?
  }

  /// The disks with these names, or all that outlast the connection of a client, as they are at one point:
  /// a write that a client began after the answer to another one is there only if that other one is.
  ///
  /// - Complexity: O(disks). Writers that need a fault wait meanwhile.
  package func atOnePoint(_ names: [String]?) throws(DiskError) -> [AtOnePoint] {
    try table.withLock { (table) throws(DiskError) in
      var chosen = table.disks(after: nil, count: .max).filter { !$0.isTemporary && $0.isShown }
      if let names {
        chosen = []
        // One that is named twice is saved once.
        for name in names where !chosen.contains(where: { $0.name == name }) {
          guard let disk = table[name] else { throw .notFound(name) }
          chosen.append(disk)
        }
      }
      do throws(MemoryError) {
        // One grace period for all of them, what they were forked from included.
        let spaces = chosen.flatMap { [$0.space, $0.snapshot ?? $0.space] }
        let forks = try AddressSpace.forkTogether(spaces)
        return chosen.enumerated().map { index, disk in
          AtOnePoint(
            disk: disk, contents: forks[2 * index],
            origin: disk.lineage.map { ($0.name, disk.settings.original, forks[2 * index + 1]) })
        }
      } catch { throw .memory(error) }
    }
  }

  /// What still brings contents of disks; nil if all are there.
  package var late: (any LateContents)? {
    loader.withLock { late in
      if late?.isWhole == true { late = nil }
      return late
    }
  }

  /// Sets what brings the contents of the disks. Before any client connects.
  package func bring(by late: any LateContents) { loader.withLock { $0 = late } }

  /// Runs `body` if there is still something to bring. An error names the disk.
  func loaded(
    _ name: String, _ body: (any LateContents) throws(LateError) -> Void
  ) throws(DiskError) {
    guard let late else { return }
    do throws(LateError) { try body(late) } catch {
      switch error {
      case .noMemory(let limit): throw .memory(.outOfMemory(limit: limit))
      case .unreadable(let reason): throw .notLoaded(name, reason: reason)
      }
    }
  }

  /// A disk that is brought back.
  package struct Restored {
    package var name: String
    package var size: UInt64
    package var limits: DiskLimits
    package var options: DiskOptions
    package var contents: AddressSpace
    package var origin: (name: String, size: UInt64, contents: AddressSpace)?

    package init(
      name: String, size: UInt64, limits: DiskLimits, options: DiskOptions,
      contents: AddressSpace, origin: (name: String, size: UInt64, contents: AddressSpace)?
    ) {
      (self.name, self.size, self.limits, self.options) = (name, size, limits, options)
      (self.contents, self.origin) = (contents, origin)
    }
  }

  /// Adds disks that were saved: all, or none if it throws.
  package func restore(_ disks: [Restored]) throws(DiskError) {
    var made: [String: Disk] = [:]
    for disk in disks {
      try Self.check(disk.name)
      try disk.options.check()
      try disk.limits.apply(to: disk.contents, named: disk.name)
    }
    // Origins before their forks, so that a fork follows its origin when that is renamed.
    var left = disks
    while !left.isEmpty {
      let names = Set(left.map(\.name))
      var ready = left.filter { disk in disk.origin.map { !names.contains($0.name) } ?? true }
      if ready.isEmpty { ready = left }
      for disk in ready {
        var origin: (disk: DiskSettings, contents: AddressSpace)?
        if let saved = disk.origin {
          let settings =
            made[saved.name]?.settings
            ?? DiskSettings(name: saved.name, size: saved.size, DiskOptions())
          origin = (settings, saved.contents)
        }
        made[disk.name] = Disk(
          disk.name, disk.contents, size: disk.size, disk.options, origin: origin,
          originalSize: disk.origin?.size, quota: DiskQuota(disk.limits.quota))
      }
      let done = Set(ready.map(\.name))
      left.removeAll { done.contains($0.name) }
    }
    try table.withLock { (table) throws(DiskError) in
      for disk in disks where table[disk.name] != nil { throw .exists(disk.name) }
      try checkRoom(table, for: made.count)
      table.insert(Array(made.values))
    }
  }
}

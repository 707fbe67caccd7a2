package import Checkpoints
import HugeMemory
import NBDServer

// Checkpoints of a server's disks: to a directory, and back from it.
extension ControlServer {
  /// Saves disks as they are at one point: those with these names, or all that outlast the connection of a
  /// client.
  package func checkpoint(
    _ names: [String]?, to directory: CheckpointDirectory, _ caller: Caller,
    _ progress: @escaping DiskFile.Progress
  ) throws -> Checkpoints.Report {
    let chosen = try disks.atOnePoint(names)
    for saved in chosen {
      try bringAll(
        of: [saved.contents] + (saved.origin.map { [$0.contents] } ?? []), of: saved.disk.name,
        caller)
    }
    let disks = chosen.map { saved in
      let limits = saved.disk.limits
      return DiskContents(
        name: saved.disk.name, size: saved.disk.size, description: saved.disk.settings.description,
        isReadOnly: saved.disk.settings.isReadOnly, quota: limits.quota, reserve: limits.reserve,
        contents: saved.contents,
        origin: saved.origin.map { .init(name: $0.name, size: $0.size, contents: $0.contents) })
    }
    let report = try checkpoints.save(disks, to: directory) { pages in
      try caller.check()
      progress(UInt64(pages) * 4096, 0)
    }
    log.info(
      "checkpoint written",
      metadata: [
        "disks": "\(report.disks)", "generation": "\(report.generation)",
        "bytes": "\(report.written)",
      ])
    return report
  }
}

extension Disks {
  /// Brings the disks of a checkpoint back. Returns their number.
  package func restore(
    from directory: CheckpointDirectory, _ checkpoints: Checkpoints,
    progress: @escaping DiskFile.Progress
  ) throws -> Int {
    let loaded = try checkpoints.load(from: directory) { progress(UInt64($0) * 4096, 0) }
    try add(loaded)
    return loaded.count
  }

  func add(
    _ loaded: [(disk: SavedDisk, contents: AddressSpace, origin: AddressSpace?)]
  ) throws(DiskError) {
    try restore(
      loaded.map { disk, contents, origin in
        Restored(
          name: disk.name, size: disk.size,
          limits: DiskLimits(quota: disk.quota, reserve: disk.reserve),
          options: DiskOptions(isReadOnly: disk.isReadOnly, description: disk.description),
          contents: contents,
          origin: disk.origin.flatMap { saved in
            origin.map { (name: saved.name, size: saved.size, contents: $0) }
          })
      })
  }
}

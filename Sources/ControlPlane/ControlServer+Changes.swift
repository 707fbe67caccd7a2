import HugeMemory
import NBDServer

// The changes of a fork: out to a file, and in again.
extension ControlServer {
  func exportChanges(
    _ name: String, _ path: String, _ file: OpenFile?, _ caller: Caller,
    _ report: (ControlResponse) -> Void
  ) throws -> ControlResponse {
    let disk = try disks.lookup(name)
    guard let origin = disk.original else {
      throw ControlError(
        "disk \"\(name)\" is not a fork, so there is nothing to compare it with; export all of it")
    }
    let target =
      try file.map { try ExportFile($0, name: path) } ?? ExportFile(path: path, streams: false)
    let fork = try disk.space.fork()
    try bringAll(of: [fork, origin], of: name, caller)
    try DiskChanges.save(
      fork, origin: origin, size: disk.size, to: target.file, name: path,
      caller: caller, progress: { report(.progress(done: $0, total: $1)) }
    ) { report(.changes($0)) }
    try target.commit()
    return .disks([status(disk)])
  }

  func importChanges(
    _ name: String, _ path: String, _ file: OpenFile?, onto origin: String, _ size: UInt64,
    _ originSize: UInt64, _ limits: DiskLimits?, _ options: DiskOptions?,
    _ ranges: [ChangedRange], _ caller: Caller, _ progress: DiskFile.Progress
  ) throws {
    if let fault = ChangeMap.fault(in: ranges, size: size) { throw ControlError(fault) }
    let there = try disks.lookup(origin).size
    guard there == originSize else {
      throw ControlError(
        "disk \"\(origin)\" has \(there) bytes, but these are changes to a disk of \(originSize)")
    }
    let source =
      try file.map { try ImageSource($0, name: path) } ?? ImageSource(path: path, streams: false)
    try disks.derive(
      name, from: origin, size: size, limits: limits ?? DiskLimits(),
      options: options ?? DiskOptions()
    ) { space in
      for range in ranges {
        do throws(LateError) {
          try disks.late?.bring(range.start..<range.start + range.length, of: space)
        } catch {
          switch error {
          case .noMemory(let limit): throw MemoryError.outOfMemory(limit: limit)
          case .unreadable(let reason): throw DiskError.notLoaded(origin, reason: reason)
          }
        }
      }
      try DiskChanges.apply(ranges, from: source, to: space, caller: caller, progress: progress)
    }
  }
}

import NBDServer

/// What one connection of the control socket has in the server: disks that it fills or reads, and the
/// ranges that it has sent for an import. All of it goes with the connection.
package final class HeldByClient {
  private let disks: Disks
  private var held: [String: Disk] = [:]
  /// The ranges of `changes` requests, for the next `importChanges`.
  private var ranges: [ChangedRange] = []

  package init(_ disks: Disks) { self.disks = disks }

  deinit { for disk in held.values { disks.release(disk) } }

  func hold(_ disk: Disk) -> ControlResponse {
    held[disk.name] = disk
    return .held(export: disk.name, size: disk.size)
  }

  package func publish(_ export: String, as name: String, _ options: DiskOptions) throws {
    guard let disk = held[export] else {
      throw ControlError("export \(export) is not held by this connection")
    }
    try disks.publish(disk, as: name, options)
    held[export] = nil
  }

  package func add(_ more: [ChangedRange]) throws {
    guard ranges.count + more.count <= ChangeMap.longest else {
      throw ControlError("there are more than \(ChangeMap.longest) changed ranges")
    }
    ranges += more
  }

  func takeRanges() -> [ChangedRange] {
    defer { ranges = [] }
    return ranges
  }
}

import NBD

// Export names: what a client asks for when it connects.
//
//   golden          the disk
//   golden@job42    the fork of that name, made now if there is none yet; stays
//   golden@         a new fork for this connection; goes at its end
//   (empty)         the only disk
extension Disks {
  /// An export as asked for, for a client that only wants to know.
  public func describe(_ export: String) throws(DiskError) -> Export {
    let disk = try table.withLock { (table) throws(DiskError) in
      let (source, fork) = try table.parse(export)
      if let fork, let existing = table.disks[fork] {
        return try table.checked(existing, forkOf: source)
      }
      guard let disk = table.disks[source] else { throw .notFound(source) }
      if let fork, !fork.isEmpty { try Self.check(fork) }
      return disk
    }
    return Self.export(disk, as: export)
  }

  /// Connects a client; call `disconnect` with the disk's name once it is gone.
  public func connect(_ export: String) throws(DiskError) -> (disk: Disk, export: Export) {
    let disk = try table.withLock { (table) throws(DiskError) in
      let (source, fork) = try table.parse(export)
      let name = try table.forkIfAsked(source, fork)
      guard var disk = table.disks[name] else { throw .notFound(name) }
      disk.connections += 1
      table.disks[name] = disk
      return disk
    }
    return (disk, Self.export(disk, as: export))
  }

  /// The end of a connection.
  public func disconnect(_ name: String) {
    let removed: Disk? = table.withLock { table in
      guard var disk = table.disks[name] else { return nil }
      disk.connections -= 1
      table.disks[name] = disk.isTemporary ? nil : disk
      return disk.isTemporary ? disk : nil
    }
    _ = consume removed
  }

  private static func export(_ disk: Disk, as name: String) -> Export {
    var description = "hugemem RAM disk"
    if let origin = disk.origin { description += ", fork of \(origin)" }
    return Export(
      name: disk.name, description: description, size: disk.size,
      allowsSeveralConnections: !name.hasSuffix("@"))
  }
}

extension Disks.Table {
  /// `source` and, after an @, the fork's name; empty for a temporary one.
  fileprivate func parse(_ export: String) throws(DiskError) -> (source: String, fork: String?) {
    if export.isEmpty {
      let lasting = disks.values.filter { !$0.isTemporary }
      guard lasting.count == 1, let only = lasting.first else {
        throw .noDefault(disks: lasting.count)
      }
      return (only.name, nil)
    }
    guard let at = export.firstIndex(of: "@") else { return (export, nil) }
    return (String(export[..<at]), String(export[export.index(after: at)...]))
  }

  fileprivate func checked(_ disk: Disk, forkOf source: String) throws(DiskError) -> Disk {
    guard disk.origin == source else {
      throw .otherOrigin(disk: disk.name, origin: disk.origin, wanted: source)
    }
    return disk
  }

  /// The name of the disk to connect to.
  fileprivate mutating func forkIfAsked(
    _ source: String, _ fork: String?
  ) throws(DiskError) -> String {
    guard let fork else { return source }
    if fork.isEmpty {
      let name = "\(source)@\(temporaries + 1)"
      try self.fork(source, names: [name], isTemporary: true)
      temporaries += 1
      return name
    }
    if let existing = disks[fork] { return try checked(existing, forkOf: source).name }
    try Disks.check(fork)
    try self.fork(source, names: [fork], isTemporary: false)
    return fork
  }
}

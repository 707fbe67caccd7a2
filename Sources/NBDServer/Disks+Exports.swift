import NBD

// Export names: what a client asks for when it connects.
//
//   golden          the disk
//   golden@job42    the fork of that name, which is made if it does not exist; it stays
//   golden@         a new fork for this connection, which is removed at its end
//   (empty)         the only disk

/// Whether clients may make forks by connecting, and how many such forks may exist at the same
/// time.
public struct ConnectForks: Sendable {
  public var areAllowed = true
  public var limit = 1024
  public init() {}

  /// Throws unless a client may make one more.
  func check(_ count: Int, _ export: String) throws(DiskError) {
    guard areAllowed else { throw .connectForksOff(export) }
    guard count < limit else { throw .tooManyConnectForks(export, limit: limit) }
  }
}

extension Disks {
  /// Describes an export to a client that does not use it yet. Makes no fork.
  public func describe(_ export: String) throws(DiskError) -> Export {
    let disk = try table.withLock { (table) throws(DiskError) in
      let (source, fork) = try table.parse(export)
      if let fork, let existing = table[fork] {
        return try table.checked(existing, forkOf: source)
      }
      guard let disk = table[source] else { throw .notFound(source) }
      if let fork {
        if !fork.isEmpty { try Self.check(fork) }
        try connectForks.check(table.madeByConnecting, export)
      }
      return disk
    }
    return Self.export(disk, as: export)
  }

  /// Connects a client. Call `disconnect` with the disk when the client is gone.
  public func connect(_ export: String) throws(DiskError) -> (disk: Disk, export: Export) {
    let disk = try table.withLock { (table) throws(DiskError) in
      let (source, fork) = try table.parse(export)
      let name = try table.forkIfAsked(source, fork, self)
      table.update(name) { $0.connections += 1 }
      guard let disk = table[name] else { throw .notFound(name) }
      return disk
    }
    return (disk, Self.export(disk, as: export))
  }

  /// Ends a connection to a disk, and removes the disk if it is temporary.
  public func disconnect(_ disk: Disk) {
    let removed: [Disk] = table.withLock { table in
      // It may have another name by now, or be gone, with another disk in its place.
      let name = disk.settings.name
      guard table[name]?.settings === disk.settings else { return [] }
      table.update(name) { $0.connections -= 1 }
      return table[name]?.isTemporary == true ? table.remove([name]) : []
    }
    Self.drop(removed)
  }

  private static func export(_ disk: Disk, as name: String) -> Export {
    return Export(
      name: disk.name, description: disk.description, size: disk.size,
      isReadOnly: disk.settings.isReadOnly, allowsSeveralConnections: !name.hasSuffix("@"))
  }
}

extension DiskTable {
  /// Splits an export name into the name of a disk and, after an @, the name of its fork. That is
  /// empty for a temporary fork.
  fileprivate func parse(_ export: String) throws(DiskError) -> (source: String, fork: String?) {
    if export.isEmpty {
      guard lasting == 1, let only = disks.values.first(where: { !$0.isTemporary && !$0.isHeld })
      else {
        throw .noDefault(disks: lasting)
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

  /// Returns the name of the disk to connect to. Makes the fork first, if one is needed.
  fileprivate mutating func forkIfAsked(
    _ source: String, _ fork: String?, _ registry: Disks
  ) throws(DiskError) -> String {
    guard let fork else { return source }
    if let existing = self[fork] { return try checked(existing, forkOf: source).name }
    if !fork.isEmpty { try Disks.check(fork) }
    guard self[source] != nil else { throw .notFound(source) }
    try registry.checkRoom(self, for: 1)
    try registry.connectForks.check(madeByConnecting, "\(source)@\(fork)")
    let name = fork.isEmpty ? "\(source)@\(temporaries + 1)" : fork
    try connectFork(source, name: name, isTemporary: fork.isEmpty, on: registry.machine)
    if fork.isEmpty { temporaries += 1 }
    return name
  }
}

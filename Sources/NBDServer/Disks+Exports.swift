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

/// A client as the rules see it.
struct Client {
  let identity: Identity
  let account: ClientAccount
}

extension Disks {
  /// Describes an export to a client that does not use it yet. Makes no fork. Without a client, rules
  /// do not count.
  public func describe(_ export: String, to client: Identity? = nil) throws(DiskError) -> Export {
    let (disk, rights) = try table.withLock { (table) throws(DiskError) in
      let (source, fork) = try parse(table, export, client)
      if let fork, let existing = table[fork], mayRead(client, existing) {
        let disk = try table.checked(existing, forkOf: source)
        return (disk, try allowed(client, disk))
      }
      guard let disk = table[source] else { throw DiskError.notFound(source) }
      guard let fork else { return (disk, try allowed(client, disk)) }
      try checkMayFork(client, disk)
      guard table[fork] == nil else { throw DiskError.exists(fork) }
      if !fork.isEmpty { try Self.check(fork) }
      try connectForks.check(table.madeByConnecting, export)
      return (disk, Rights.all)
    }
    return Self.export(disk, as: export, rights)
  }

  /// Connects a client. Call `disconnect` with the disk when the client is gone.
  public func connect(
    _ export: String, as client: Identity? = nil
  ) throws(DiskError) -> (disk: Disk, export: Export) {
    var known: Client?
    if let client {
      guard let account = access.connect(client) else {
        throw .tooManyOfClient("\(client)", what: "connections; end some first")
      }
      known = Client(identity: client, account: account)
    }
    do throws(DiskError) {
      let (disk, rights) = try table.withLock { (table) throws(DiskError) in
        let (source, fork) = try parse(table, export, client)
        let name = try forkIfAsked(&table, source, fork, known)
        guard let disk = table[name] else { throw DiskError.notFound(name) }
        let rights = try allowed(client, disk)
        table.update(name) { $0.connections += 1 }
        return (disk, rights)
      }
      return (disk, Self.export(disk, as: export, rights))
    } catch {
      known?.account.giveConnection()
      throw error
    }
  }

  /// What a client may do with a disk. One that it may not read does not exist for it.
  private func allowed(_ client: Identity?, _ disk: Disk) throws(DiskError) -> Rights {
    guard let client else { return .all }
    let rights = access.rights(client, disk)
    guard rights.contains(.read) else { throw .notFound(disk.name) }
    return rights
  }

  private func mayRead(_ client: Identity?, _ disk: Disk) -> Bool {
    client.map { access.rights($0, disk).contains(.read) } ?? true
  }

  private func checkMayFork(_ client: Identity?, _ disk: Disk) throws(DiskError) {
    guard let client else { return }
    let rights = access.rights(client, disk)
    guard !rights.contains(.fork) else { return }
    throw rights.contains(.read) ? .mayNotFork(disk.name) : .notFound(disk.name)
  }

  private func parse(
    _ table: borrowing DiskTable, _ export: String, _ client: Identity?
  ) throws(DiskError) -> (source: String, fork: String?) {
    do throws(DiskError) {
      let (source, fork) = try table.parse(export)
      if export.isEmpty, let only = table[source], !mayRead(client, only) {
        throw .noDefault(disks: -1)
      }
      return (source, fork)
    } catch {
      // How many disks there are may be none of the client's business.
      guard case .noDefault = error, let client, access.rights(client, named: "") != .all else {
        throw error
      }
      throw .noDefault(disks: -1)
    }
  }

  /// Returns the name of the disk to connect to. Makes the fork first, if one is needed.
  private func forkIfAsked(
    _ table: inout DiskTable, _ source: String, _ fork: String?, _ client: Client?
  ) throws(DiskError) -> String {
    guard let fork else { return source }
    // A disk that the client may not read answers as a name that was never used, but for one thing: who
    // may fork the source sees that the name is taken.
    if let existing = table[fork], mayRead(client?.identity, existing) {
      return try table.checked(existing, forkOf: source).name
    }
    guard let origin = table[source] else { throw .notFound(source) }
    try checkMayFork(client?.identity, origin)
    guard table[fork] == nil else { throw .exists(fork) }
    if !fork.isEmpty { try Self.check(fork) }
    try checkRoom(table, for: 1)
    try connectForks.check(table.madeByConnecting, "\(source)@\(fork)")
    let name = fork.isEmpty ? "\(source)@\(table.temporaries + 1)" : fork
    try table.connectFork(
      source, name: name, isTemporary: fork.isEmpty, on: machine, for: client)
    if fork.isEmpty { table.temporaries += 1 }
    return name
  }

  /// Ends a connection to a disk, and removes the disk if it is temporary.
  public func disconnect(_ disk: Disk, as client: Identity? = nil) {
    if let client { access.disconnect(client) }
    let removed: [Disk] = table.withLock { table in
      // It may have another name by now, or be gone, with another disk in its place.
      let name = disk.settings.name
      guard table[name]?.settings === disk.settings else { return [] }
      table.update(name) { $0.connections -= 1 }
      return table[name]?.isTemporary == true ? table.remove([name]) : []
    }
    Self.drop(removed)
  }

  private static func export(_ disk: Disk, as name: String, _ rights: Rights) -> Export {
    return Export(
      name: disk.name, description: disk.description, size: disk.size,
      isReadOnly: disk.settings.isReadOnly || !rights.contains(.write),
      allowsSeveralConnections: !name.hasSuffix("@"))
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
}

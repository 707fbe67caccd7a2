public import HugeMemory

// Disks that belong to one connection of the control socket: what it reads from while it exports, or
// fills while it imports. Their names begin with a dot, which no other name does. They are not offered
// to clients that list.
extension Disks {
  /// Makes a read-only view of a disk as it is now, with the same origin.
  public func holdView(of name: String) throws(DiskError) -> Disk {
    try hold("export") { (held, table) throws(DiskError) in
      guard let disk = table[name] else { throw .notFound(name) }
      let view: AddressSpace
      do throws(MemoryError) { view = try disk.space.fork() } catch { throw .memory(error) }
      var origin: (DiskSettings, AddressSpace)?
      if let lineage = disk.lineage, let snapshot = disk.snapshot { origin = (lineage, snapshot) }
      return Disk(
        held, view, size: disk.size, DiskOptions(isReadOnly: true), origin: origin,
        quota: DiskQuota(nil))
    }
  }

  /// Makes an empty disk that gets its name later, by `publish`.
  public func holdEmpty(size: UInt64, limits: DiskLimits) throws(DiskError) -> Disk {
    let space: AddressSpace
    do { space = try machine.makeDiskSpace(size: size) } catch { throw .memory(error) }
    try limits.apply(to: space, named: "import")
    return try hold("import") { (held, _) throws(DiskError) in
      Disk(held, space, size: size, quota: DiskQuota(limits.quota))
    }
  }

  private func hold(
    _ kind: String, _ make: (String, borrowing DiskTable) throws(DiskError) -> Disk
  ) throws(DiskError) -> Disk {
    try table.withLock { (table) throws(DiskError) in
      try checkRoom(table, for: 1)
      let disk = try make(".\(kind)-\(table.held + 1)", table)
      table.held += 1
      table.insert([disk])
      return disk
    }
  }

  /// Gives a held disk its name and its options. From then on it is a disk as any other.
  public func publish(_ held: Disk, as name: String, _ options: DiskOptions) throws(DiskError) {
    try Self.check(name)
    try options.check()
    try table.withLock { (table) throws(DiskError) in
      guard table[held.name]?.settings === held.settings else { throw .notFound(held.name) }
      guard table[name] == nil else { throw .exists(name) }
      held.settings.description = options.description ?? ""
      held.settings.isReadOnly = options.isReadOnly == true
      table.rename(held.name, to: name)
    }
  }

  /// Removes a held disk, unless it was published. Clients that are still connected get errors.
  public func release(_ held: Disk) {
    let removed = table.withLock { table in
      table[held.name]?.settings === held.settings ? table.remove([held.name]) : []
    }
    for disk in removed { disk.settings.end() }
    Self.drop(removed)
  }

  /// Forks `origin` and changes the fork by `change`, before it gets its name.
  ///
  /// - Parameter size: The size of the new disk, in bytes.
  public func derive(
    _ name: String, from origin: String, size: UInt64, limits: DiskLimits, options: DiskOptions,
    _ change: (AddressSpace) throws -> Void
  ) throws {
    try checkFree(name)
    try options.check()
    let (disk, snapshot, space) = try table.withLock { (table) throws(DiskError) in
      guard let disk = table[origin] else { throw DiskError.notFound(origin) }
      guard size > 0, size <= disk.space.size else {
        throw DiskError.invalidSize(name, size: size, most: disk.space.size)
      }
      let made = try disk.forks(named: [name], limits) { () throws(DiskError) in }
      return (disk, made.snapshot, made.spaces[0])
    }
    try change(space)
    try table.withLock { (table) throws(DiskError) in
      guard table[name] == nil else { throw DiskError.exists(name) }
      try checkRoom(table, for: 1)
      table.insert([
        Disk(
          name, space, size: size, options, origin: (disk.settings, snapshot),
          quota: DiskQuota(limits.quota))
      ])
    }
  }
}

extension Disk {
  /// Whether the disk belongs to one connection of the control socket.
  var isHeld: Bool { name.hasPrefix(".") }

  /// Whether lists have it: all disks but those that belong to one connection.
  public var isShown: Bool { !isHeld }

  /// The contents that the disk was forked with; nil if it is no fork.
  public var original: AddressSpace? { snapshot }

  /// The size that it was forked with, in bytes; nil if it is no fork.
  public var originSize: UInt64? { snapshot == nil ? nil : settings.original }
}

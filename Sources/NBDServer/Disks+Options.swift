// What can change about a disk: its name, its description, its protection, its size.
extension Disks {
  /// Gives a disk another name. Its clients stay connected, and forks of it name it as their origin
  /// by the new name.
  public func rename(_ old: String, to new: String) throws(DiskError) {
    try Self.check(new)
    try table.withLock { (table) throws(DiskError) in
      guard let disk = table[old], !disk.isTemporary else { throw .notFound(old) }
      guard table[new] == nil else { throw .exists(new) }
      table.rename(old, to: new)
    }
  }

  /// Changes options of a disk. If it becomes read-only, clients that are connected already can
  /// change nothing more either, except by a request that is being carried out at this moment.
  public func set(_ name: String, _ options: DiskOptions) throws(DiskError) {
    try options.check()
    let disk = try lookup(name)
    if let description = options.description { disk.settings.description = description }
    if let isReadOnly = options.isReadOnly { disk.settings.isReadOnly = isReadOnly }
    recordChange(of: disk)
    events.note(.changed, disk.name)
  }

  /// Changes the size of a disk, while clients use it. What is cut off is gone.
  ///
  /// - Parameter shrinks: Whether the disk may become smaller.
  public func resize(_ name: String, to size: UInt64, shrinks: Bool) throws(DiskError) {
    let disk = try lookup(name)
    guard size > 0, size <= disk.space.size else {
      throw .invalidSize(name, size: size, most: disk.space.size)
    }
    guard shrinks || size >= disk.size else { throw .wouldShrink(name, from: disk.size, to: size) }
    let (low, high) = (min(size, disk.size), max(size, disk.size))
    try loaded(name) { (late) throws(LateError) in
      try late.bringEdges(of: low..<high, of: disk.space)
    }
    do {
      try disk.settings.resize(to: size, disk.space, disk.quota, late) { recordChange(of: disk) }
    } catch { throw .memory(error) }
    events.note(.resized, disk.name)
  }

  /// Whether the disk that this one was forked from is still there; nil if it is no fork.
  public func hasOrigin(_ disk: Disk) -> Bool? {
    guard let lineage = disk.lineage else { return nil }
    return table.withLock { $0[lineage.name]?.settings === lineage }
  }
}

extension Disk {
  /// The description that clients see.
  public var description: String {
    let own = settings.description
    guard own.isEmpty else { return own }
    return "hugemem RAM disk" + (origin.map { ", fork of \($0)" } ?? "")
  }
}

package import HugeMemory

/// The limits of a disk, in bytes of data and tables. The quota is the most memory that the disk
/// may take, the reserve is memory that is kept for it. Nil means no limit. Both count only memory
/// of the disk's own: see `AddressSpace.setLimits`.
public struct DiskLimits: Codable, Sendable, Equatable {
  public var quota: UInt64?
  public var reserve: UInt64?
  public init(quota: UInt64? = nil, reserve: UInt64? = nil) {
    self.quota = quota
    self.reserve = reserve
  }

  /// Throws if no disk can have these limits.
  fileprivate func check(_ name: String) throws(DiskError) {
    guard let quota else { return }
    if quota < 4096 { throw .quotaTooSmall(name, quota: quota) }
    if let reserve, reserve > quota {
      throw .reserveOverQuota(name, quota: quota, reserve: reserve)
    }
  }

  /// Sets the limits of a space. An error names the disk, `name`. `again` means that the reserve was kept
  /// before, by a process that has ended.
  package func apply(
    to space: AddressSpace, named name: String, again: Bool = false
  ) throws(DiskError) {
    try check(name)
    do {
      if again {
        try space.setLimitsAgain(quota: quota, reserve: reserve)
      } else {
        try space.setLimits(quota: quota, reserve: reserve)
      }
    } catch {
      guard case .outOfMemory(let limit) = error else { throw .memory(error) }
      throw .cannotReserve(name, reserve: reserve ?? 0, limit: limit)
    }
  }
}

/// A change to one limit of a disk.
public enum LimitChange: Codable, Sendable, Equatable {
  case keep
  case lift
  /// In bytes.
  case set(UInt64)

  fileprivate func applied(to old: UInt64?) -> UInt64? {
    switch self {
    case .keep: old
    case .lift: nil
    case .set(let bytes): bytes
    }
  }
}

extension Disks {
  /// Changes the limits of a disk: both, or none if it throws.
  public func limit(
    _ name: String, quota: LimitChange, reserve: LimitChange
  ) throws(DiskError) {
    // Take the table's lock, so that two changes do not undo each other.
    try table.withLock { (table) throws(DiskError) in
      guard let disk = table[name] else { throw .notFound(name) }
      let old = disk.limits
      let limits = DiskLimits(
        quota: quota.applied(to: old.quota), reserve: reserve.applied(to: old.reserve))
      guard limits != old || quota != .keep else { return }
      try limits.check(name)
      // Others take at once what a lower reserve leaves, and the next process could not keep the old one.
      if limits.reserve ?? 0 < old.reserve ?? 0 { table.recordChange(of: disk, limits: limits) }
      defer { table.recordChange(of: disk) }
      if let member = disk.quota.account, member.isOwner || quota == .keep {
        try disk.limit(limits, in: member)
      } else {
        // A fork that gets a quota of its own no longer counts for the quota of its origin.
        let member = disk.quota.account
        try limits.apply(to: disk.space, named: name)
        disk.quota.join(nil)
        member?.account.leave(member!.number)
      }
      if disk.quota.account == nil { disk.quota.pins.follow(quota: limits.quota) }
      events.note(.changed, name)
    }
  }
}

extension Disk {
  /// The quota, which the disk may share with forks that clients made by connecting, and the
  /// reserve.
  public var limits: DiskLimits {
    let member = quota.account
    return DiskLimits(quota: member.map(\.account.total) ?? space.quota, reserve: space.reserve)
  }

  /// The memory that counts for the quota, in bytes; nil if the disk has no limits. Disks that
  /// share a quota share this figure as well.
  public var charge: UInt64? {
    if let member = quota.account, member.account.total != nil { return member.account.charge }
    return limits == DiskLimits() ? nil : space.charge
  }

  /// Changes the limits of a disk whose quota is in an account.
  fileprivate func limit(_ limits: DiskLimits, in member: AccountMember) throws(DiskError) {
    let account = member.account
    let old = account.total
    if member.isOwner, old != limits.quota { account.setTotal(limits.quota) }
    guard limits.reserve != space.reserve else { return }
    do throws(MemoryError) {
      if try account.setReserve(limits.reserve, of: member.number) { return }
    } catch {
      account.setTotal(old)
      guard case .outOfMemory(let limit) = error else { throw .memory(error) }
      throw .cannotReserve(name, reserve: limits.reserve ?? 0, limit: limit)
    }
    account.setTotal(old)
    throw .reserveOverQuota(name, quota: limits.quota ?? 0, reserve: limits.reserve ?? 0)
  }

  /// Forks this disk into a snapshot, and the snapshot once for each name, with limits. Makes all
  /// forks, or none if it throws.
  func forks(
    named names: [String], _ limits: DiskLimits, _ check: () throws(DiskError) -> Void
  ) throws(DiskError) -> (snapshot: AddressSpace, spaces: [AddressSpace]) {
    do throws(DiskError) {
      let snapshot = try fork(of: space)
      var spaces: [AddressSpace] = []
      for (index, name) in names.enumerated() {
        // A check may cost a system call, as much as a fork.
        if index % 64 == 0 { try check() }
        let fork = try fork(of: snapshot)
        if limits != DiskLimits() { try limits.apply(to: fork, named: name) }
        spaces.append(fork)
      }
      return (snapshot, spaces)
    } catch {
      // The forks are gone. Set the limits again, so that what the forks shared counts as the
      // disk's own again.
      let (quota, reserve) = (space.quota, space.reserve)
      if quota != nil || reserve != nil { try? space.setLimits(quota: quota, reserve: reserve) }
      throw error
    }
  }

  private func fork(of space: AddressSpace) throws(DiskError) -> AddressSpace {
    do { return try space.fork() } catch {
      guard case .outOfMemory(let limit) = error, let reserve = space.reserve else {
        throw .memory(error)
      }
      throw .cannotFork(name, reserve: reserve, limit: limit)
    }
  }
}

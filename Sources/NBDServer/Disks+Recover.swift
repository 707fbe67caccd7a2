package import DiskDirectory
package import HugeMemory

extension Disks {
  /// A disk that an earlier server left in the memory file.
  package struct Recovered {
    package var found: DiskDirectory.Found
    package var space: AddressSpace
    /// What a reset restores; nil if the disk is no fork.
    package var snapshot: AddressSpace?

    package init(found: DiskDirectory.Found, space: AddressSpace, snapshot: AddressSpace?) {
      (self.found, self.space, self.snapshot) = (found, space, snapshot)
    }
  }

  /// Takes over the disks of an earlier server, with all that they were. Throws if their reserves are
  /// more than the memory limit allows now.
  ///
  /// - Complexity: O(disks), and O(tables of disks with limits).
  package func recover(_ disks: [Recovered]) throws(DiskError) {
    var known: [UInt64: Disk] = [:]
    // What was forked from is older, so it has a lower id.
    for recovered in disks.sorted(by: { $0.found.disk.id < $1.found.disk.id }) {
      let record = recovered.found.disk
      let source = record.origin.flatMap { known[$0.id] }
      var origin: (disk: DiskSettings, contents: AddressSpace)?
      if let name = record.origin?.name, let snapshot = recovered.snapshot {
        let settings =
          source?.settings
          ?? DiskSettings(name: name, size: record.originalSize, DiskOptions())
        origin = (settings, snapshot)
      }
      let owner = record.owner.flatMap { Identity($0) }
      let limits = DiskLimits(quota: record.quota, reserve: record.reserve)
      if limits != DiskLimits() {
        try limits.apply(to: recovered.space, named: record.name, again: true)
      }
      let disk = Disk(
        record.name, recovered.space, size: record.size,
        DiskOptions(isReadOnly: record.isReadOnly, description: record.description),
        origin: origin, originalSize: record.originalSize,
        quota: quota(of: recovered, from: source, owner),
        isMadeByConnecting: record.isMadeByConnecting,
        ownership: owner.map { Ownership(recovered: $0, access.account($0)) })
      disk.settings.record.withLock { $0 = (record.id, recovered.found.slot) }
      known[record.id] = disk
    }
    for recovered in disks {
      // The server may have ended after it had recorded a smaller size, and before it cut the rest off. All
      // reserves are kept by now, so that a table for this takes nobody's memory.
      let end = (recovered.found.disk.size + 4095) & ~4095
      if end < recovered.space.size {
        try? recovered.space.discard(at: end, length: recovered.space.size - end)
      }
    }
    table.withLock { $0.insert(Array(known.values), areRecorded: true) }
  }

  /// The account that a disk counts for: that of its owner, or of what it was forked from.
  private func quota(
    of recovered: Recovered, from source: Disk?, _ owner: Identity?
  ) -> DiskQuota {
    let record = recovered.found.disk
    guard record.countsElsewhere else { return DiskQuota(record.quota) }
    let account =
      owner.flatMap { access.account($0).quota(on: machine) }
      ?? source?.joinedAccount(machine)?.account
    guard let account else { return DiskQuota(nil) }
    return DiskQuota(pins: account.pins, member: account.adopt(recovered.space))
  }
}

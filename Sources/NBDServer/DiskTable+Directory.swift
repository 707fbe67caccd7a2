internal import DiskDirectory
import HugeMemory

// Disks that outlive the process, in the directory of its memory file. A record is written before a
// command is answered, and it goes before any memory of its disk does.
extension DiskTable {
  /// Records new disks: when the process ends in the middle, all are there or none. Those that belong to
  /// a connection end with it, and so with the process.
  func record(_ new: [Disk]) {
    guard let directory else { return }
    let lasting = new.filter { !$0.isTemporary && !$0.isHeld }
    let records = lasting.map { $0.record(in: directory, id: directory.newID()) }
    for ((disk, record), slot) in zip(zip(lasting, records), directory.add(records)) {
      disk.settings.record.withLock { $0 = (record.id, slot) }
    }
  }

  /// Records what a disk is now, or will be with other `limits`.
  func recordChange(of disk: Disk, limits: DiskLimits? = nil) {
    guard let directory else { return }
    disk.settings.record.withLock { kept in
      guard let (id, slot) = kept else { return }
      let record = disk.record(in: directory, id: id, limits: limits)
      kept = (id, directory.replace(slot, with: record))
    }
  }

  /// Records the new name of a disk, also where its forks name it.
  func recordRename(of disk: Disk) {
    guard directory != nil else { return }
    recordChange(of: disk)
    for fork in disks.values where fork.lineage === disk.settings { recordChange(of: fork) }
  }

  /// Takes disks out of the directory, before anything of theirs is given back.
  func forget(_ removed: [Disk]) {
    guard let directory else { return }
    directory.remove(
      removed.compactMap { disk in
        disk.settings.record.withLock { kept in
          defer { kept = nil }
          return kept?.slot
        }
      })
  }
}

extension Disks {
  /// Records what a disk is now, unless it was removed meanwhile.
  func recordChange(of disk: Disk) { table.withLock { $0.recordChange(of: disk) } }
}

extension Disk {
  fileprivate func record(
    in directory: DiskDirectory, id: UInt64, limits: DiskLimits? = nil
  ) -> DiskRecord {
    let limits = limits ?? self.limits
    let countsElsewhere = quota.account.map { !$0.isOwner } ?? false
    var record = DiskRecord(
      id: id, name: settings.name, description: settings.description, size: size,
      originalSize: settings.original, spaceSize: space.size,
      quota: countsElsewhere ? nil : limits.quota, reserve: limits.reserve,
      isReadOnly: settings.isReadOnly, isMadeByConnecting: isMadeByConnecting,
      countsElsewhere: countsElsewhere, root: directory.keep(space),
      snapshot: snapshot.map { directory.keep($0) },
      origin: lineage.map { origin in
        (origin.record.withLock { $0?.id ?? 0 }, origin.name)
      },
      owner: owner.map { "\($0)" })
    record.isResetting = settings.isResetting
    return record
  }
}

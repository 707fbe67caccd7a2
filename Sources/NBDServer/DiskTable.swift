internal import DiskDirectory

/// The disks by name, and their names in order. A list is read in pieces, and disks may come and go
/// between two pieces.
struct DiskTable {
  let events: DiskEvents
  /// Where disks are recorded that outlive the process; nil if none do.
  let directory: DiskDirectory?
  private(set) var disks: [String: Disk] = [:]
  /// The keys of `disks`, sorted. An insertion moves at most 16 bytes for each disk.
  private var names: [String] = []
  /// The number of disks that clients made by connecting and that still exist.
  private(set) var madeByConnecting = 0
  /// The number of disks that are not removed with their connection.
  private(set) var lasting = 0
  /// Numbers the forks that are removed with their connection.
  var temporaries = 0
  /// Numbers the disks that belong to a connection of the control socket.
  var held = 0

  init(_ events: DiskEvents, _ directory: DiskDirectory? = nil) {
    (self.events, self.directory) = (events, directory)
  }

  subscript(name: String) -> Disk? { disks[name] }

  var count: Int { disks.count }

  /// Adds disks. Their names must be free. With `areRecorded`, the directory has them already.
  mutating func insert(_ new: [Disk], areRecorded: Bool = false) {
    if !areRecorded { record(new) }
    for disk in new {
      let old = disks.updateValue(disk, forKey: disk.name)
      precondition(old == nil, "disks: \(disk.name) is there already")
      if disk.isMadeByConnecting { madeByConnecting += 1 }
      if !disk.isTemporary && !disk.isHeld { lasting += 1 }
      if !disk.isHeld { noteBirth(disk) }
    }
    if new.count == 1 {
      names.insert(new[0].name, at: index(after: new[0].name))
    } else {
      names.append(contentsOf: new.map(\.name))
      names.sort()
    }
  }

  /// Removes the disks with these names, and returns those that existed.
  mutating func remove(_ gone: [String]) -> [Disk] {
    let removed = gone.compactMap { disks.removeValue(forKey: $0) }
    forget(removed)
    for disk in removed {
      if disk.isMadeByConnecting { madeByConnecting -= 1 }
      if !disk.isTemporary && !disk.isHeld { lasting -= 1 }
      if !disk.isHeld { events.note(.removed, disk.name) }
    }
    if removed.count == 1 {
      names.remove(at: index(after: removed[0].name) - 1)
    } else if !removed.isEmpty {
      names.removeAll { disks[$0] == nil }
    }
    return removed
  }

  /// Gives a disk another name, which must be free.
  mutating func rename(_ old: String, to new: String) {
    guard var disk = disks.removeValue(forKey: old) else { return }
    names.remove(at: index(after: old) - 1)
    let wasHeld = disk.isHeld
    if wasHeld { lasting += 1 }
    disk.name = new
    disk.settings.name = new
    if wasHeld { noteBirth(disk) } else { events.note(.renamed, new, old) }
    disks[new] = disk
    if wasHeld { record([disk]) } else { recordRename(of: disk) }
    names.insert(new, at: index(after: new))
  }

  private func noteBirth(_ disk: Disk) {
    events.note(disk.origin == nil ? .created : .forked, disk.name, disk.origin)
  }

  /// Changes a disk. Does nothing if there is no disk of that name.
  mutating func update(_ name: String, _ change: (inout Disk) -> Void) {
    guard var disk = disks[name] else { return }
    change(&disk)
    disks[name] = disk
  }

  /// Returns the disks after `name`, in the order of their names, but at most `count`.
  func disks(after name: String?, count: Int) -> [Disk] {
    let start = name.map(index(after:)) ?? 0
    return names[start...].prefix(count).compactMap { disks[$0] }
  }

  /// The index of the first name after this one.
  private func index(after name: String) -> Int {
    var low = 0
    var high = names.count
    while low < high {
      let middle = (low + high) / 2
      if names[middle] <= name { low = middle + 1 } else { high = middle }
    }
    return low
  }
}

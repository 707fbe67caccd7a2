import Frames
import Paging

extension AddressSpace {
  /// Returns a copy of this space that contains every write that has returned. It costs one
  /// reference and one object, whatever the size. The first write below a shared table copies the
  /// tables on that path.
  ///
  /// The fork has no limits. If this space has a reserve, the whole reserve is promised again,
  /// because all memory that it has is now shared. Throws `outOfMemory` and changes nothing if that
  /// is not possible.
  ///
  /// - Complexity: O(1), and one grace period if this space was written since its last fork.
  public func fork() throws(MemoryError) -> AddressSpace {
    machine.events.forks.count()
    let shared = try share()
    let fork = AddressSpace(
      size: size, root: shared.root, mappings: shared.mappings, machine: machine)
    fork.setOrigin(shared)
    if machine.policy.followsLinux { try fork.dropUntouched() }
    return fork
  }

  /// A fork of a larger size: what this space maps is at its start, and the rest is untouched.
  /// `size` is at least this space's and at most `maximalSize`. The space has no mappings.
  ///
  /// - Complexity: O(1): a fork, and a table for each level that the larger size has more.
  package func fork(grownTo size: UInt64) throws(MemoryError) -> AddressSpace {
    let shared = try share()
    var root = shared.root
    if root.kind == .table {
      for level in level..<Radix.level(forSize: size) {
        do {
          let table = try machine.makeTable(own: 0, urgent: false)
          table.set(0, root)
          root = Entry(.table, table.frame, writable: true)
        } catch {
          machine.disposeTable(root.frame, level: level)
          throw error
        }
      }
    }
    // It has no origin: scanners compare a fork with its origin slot by slot.
    let fork = AddressSpace(size: size, root: root, machine: machine)
    if root.kind == .table { fork.lock.withLock { _ = fork.makeScannable() } }
    return fork
  }

  /// Forks of several spaces of one machine, all at one point: no write that began after another one
  /// had returned is in a fork if that other one is not. No scanner sees the forks, so as long as they
  /// live, nothing but their end changes what they map and no frame of theirs gets another use.
  ///
  /// - Complexity: O(spaces), and one grace period. Writers that need a fault wait meanwhile.
  package static func forkTogether(
    _ spaces: [AddressSpace]
  ) throws(MemoryError) -> [AddressSpace] {
    guard let machine = spaces.first?.machine else { return [] }
    // In one order, so that two of these do not wait for each other. Nobody else holds two of the locks.
    let ordered = Dictionary(spaces.map { (ObjectIdentifier($0), $0) }, uniquingKeysWith: { $1 })
      .sorted { $0.key < $1.key }.map(\.value)
    for space in ordered { space.lock.lock() }
    defer { for space in ordered { space.lock.unlock() } }
    for space in ordered {
      let entry = Entry(raw: space.root.load(.relaxed))
      guard entry.kind == .table, entry.isWritable else { continue }
      try space.promiseAll()
      space.storeRoot(entry.shared)
    }
    // From here on every writer takes a lock, and those that were past a root finish.
    machine.flushTranslations()
    return spaces.map { space in
      let entry = Entry(raw: space.root.load(.relaxed))
      if entry.kind == .table { space.arena.retain(entry.frame) }
      return AddressSpace(
        size: space.size, root: entry.kind == .table ? entry.shared : .none,
        mappings: space.mappings?.forked, machine: machine)
    }
  }

  /// A fork that exists only for a comparison and that no scanner sees. Nil if the space has
  /// limits, because a fork would set its charge to 0.
  func forkToCompare() -> AddressSpace? {
    guard lock.withLock({ limits == nil }), let shared = try? share() else { return nil }
    return AddressSpace(size: size, root: shared.root, mappings: shared.mappings, machine: machine)
  }

  /// Under the lock, or before any other thread knows this space. Makes the space known to
  /// scanners, because it may become the last one that has the tables.
  private func setOrigin(_ origin: Shared) {
    if originHandle == nil { machine.events.forkBorn.count() }
    originHandle = origin.handle
    if origin.root.kind == .table { _ = makeScannable() }
  }

  /// Linux does not copy the page tables of a mapping that was never written (`vma_needs_copy`). So
  /// what a read has mapped there is not mapped in the child.
  private func dropUntouched() throws(MemoryError) {
    try lock.withLock { () throws(MemoryError) in
      let all = mappings?.all ?? []
      for mapping in all where !mapping.isTouched {
        try unmapEntries(mapping.start..<mapping.end)
      }
      let touched = all.filter(\.isTouched)
      for mapping in all where !mapping.isTouched {
        dropTable(mapping.start, unlessMappedBy: touched)
        dropTable(mapping.end - 1, unlessMappedBy: touched)
      }
    }
  }

  /// Makes this space a fork of `origin`, in place, and drops what it held. Both must have the same
  /// size and machine, or this throws `invalidSize`. Limits stay what they are.
  ///
  /// Reads and writes of other threads go on meanwhile, on the old contents or on the new ones.
  ///
  /// - Complexity: O(tables and pages that the space gives back), and grace periods.
  public func reset(to origin: AddressSpace) throws(MemoryError) {
    guard origin.size == size, origin.machine === machine else {
      throw .invalidSize(origin.size, reason: "the origin's size must be \(size) bytes")
    }
    guard origin !== self else { return }
    let shared = try origin.share()
    replaceRoot(shared.root) {
      self.mappings = shared.mappings
      self.hasMappings.store(shared.mappings == nil ? 0 : 1, .release)
      self.setOrigin(shared)
    }
  }

  /// What a fork starts with: among others a reference on the root table, which is shared from now
  /// on.
  private struct Shared {
    var root: Entry
    var mappings: MappingList?
    var handle: ScanHandle
  }

  private func share() throws(MemoryError) -> Shared {
    try withRoom { () throws(MemoryError) in
      let entry = Entry(raw: root.load(.relaxed))
      let handle = makeScannable()
      guard entry.kind == .table else {
        return Shared(root: .none, mappings: mappings?.forked, handle: handle)
      }
      if entry.isWritable {
        try promiseAll()
        // From here on, writers take the lock. Those that were past the root already finish their
        // copies before any other space can refer to the tables.
        storeRoot(entry.shared)
        machine.flushTranslations()
      }
      arena.retain(entry.frame)
      return Shared(root: entry.shared, mappings: mappings?.forked, handle: handle)
    }
  }

  /// Replaces the whole tree and retires the old one.
  func replaceRoot(_ entry: Entry, _ alongside: () -> Void = {}) {
    lock.withLock {
      alongside()
      let old = Entry(raw: root.load(.relaxed))
      storeRoot(entry)
      retire(old, level: level)
    }
    machine.settle()
  }
}

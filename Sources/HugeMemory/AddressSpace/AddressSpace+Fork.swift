import Frames
import Paging

extension AddressSpace {
  /// A copy of this space as it is after all writes that have returned. Costs one reference and
  /// an object, whatever the size; the first write below a shared table copies that path.
  ///
  /// The fork has no limits. A reserved space is promised its whole reserve again, since all that it
  /// has is shared now; throws `outOfMemory`, with nothing changed, if that cannot be.
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

  /// A fork for the time of a comparison, which no scanner sees. Nil of a space with limits: its
  /// charge would begin at 0 for it.
  func forkToCompare() -> AddressSpace? {
    guard lock.withLock({ limits == nil }), let shared = try? share() else { return nil }
    return AddressSpace(size: size, root: shared.root, mappings: shared.mappings, machine: machine)
  }

  /// Under the lock, or before anybody else knows this space. It may be the last that has the tables,
  /// so scanners are to know it.
  private func setOrigin(_ origin: Shared) {
    if originHandle == nil { machine.events.forkBorn.count() }
    originHandle = origin.handle
    if origin.root.kind == .table { _ = makeScannable() }
  }

  /// Linux copies no page tables of a mapping that was never written (`vma_needs_copy`): what a read
  /// has mapped there is not mapped in the child.
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

  /// Makes this space a fork of `origin`, in place; what it held is dropped. Both must have the
  /// same size and machine.
  public func reset(to origin: AddressSpace) throws(MemoryError) {
    guard origin.size == size, origin.machine === machine else {
      throw .invalidSize(origin.size, reason: "a space is reset to one of its own size, \(size)")
    }
    guard origin !== self else { return }
    let shared = try origin.share()
    replaceRoot(shared.root) {
      self.mappings = shared.mappings
      self.hasMappings.store(shared.mappings == nil ? 0 : 1, .release)
      self.setOrigin(shared)
    }
  }

  /// What a fork starts with: a reference on the root table, shared from now on.
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
        // From here on writers come to the lock. Those that were already past the root finish
        // their copies before anybody else may refer to the tables.
        root.store(entry.shared.raw, .release)
        machine.flushTranslations()
      }
      arena.retain(entry.frame)
      return Shared(root: entry.shared, mappings: mappings?.forked, handle: handle)
    }
  }

  /// Swaps the whole tree for another and retires the old one.
  func replaceRoot(_ entry: Entry, _ alongside: () -> Void = {}) {
    lock.withLock {
      alongside()
      let old = Entry(raw: root.load(.relaxed))
      root.store(entry.raw, .release)
      retire(old, level: level)
    }
    machine.settle()
  }
}

import Frames
import Paging

extension AddressSpace {
  /// A copy of this space as it is after all writes that have returned. Costs one reference and
  /// an object, whatever the size; the first write below a shared table copies that path.
  ///
  /// - Complexity: O(1), and one grace period if this space was written since its last fork.
  public func fork() throws(MemoryError) -> AddressSpace {
    machine.events.forks.count()
    let (root, mappings) = share()
    let fork = AddressSpace(size: size, root: root, mappings: mappings, machine: machine)
    if machine.policy.followsLinux { try fork.dropUntouched() }
    return fork
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
    let (root, mappings) = origin.share()
    replaceRoot(root) {
      self.mappings = mappings
      self.hasMappings.store(mappings == nil ? 0 : 1, .release)
    }
  }

  /// A reference on the root table, shared from now on, and the mappings.
  private func share() -> (Entry, MappingList?) {
    lock.withLock {
      let entry = Entry(raw: root.load(.relaxed))
      guard entry.kind == .table else { return (.none, mappings?.forked) }
      if entry.isWritable {
        // From here on writers come to the lock. Those that were already past the root finish
        // their copies before anybody else may refer to the tables.
        root.store(entry.protected.raw, .release)
        machine.flushTranslations()
      }
      arena.retain(entry.frame)
      return (entry.protected, mappings?.forked)
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

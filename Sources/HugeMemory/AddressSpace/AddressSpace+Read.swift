import Frames
import Glibc
import Paging

extension AddressSpace {
  /// Copies bytes out. Untouched memory reads as zeros, and by policy maps the zero page.
  ///
  /// Throws `notMapped` or `accessDenied` where a mapping does not allow reading.
  /// - Complexity: O(length); lock-free where memory is mapped.
  public func read(
    at offset: UInt64, into target: UnsafeMutableRawBufferPointer
  ) throws(MemoryError) {
    try check(offset, UInt64(target.count))
    try checkAccess(.read, offset, target.count)
    var done = 0
    while done < target.count {
      let at = offset + UInt64(done)
      let length = min(target.count - done, Self.rest(at, 2))
      // SAFETY: `done + length` lies within `target`.
      let untouched = unsafe copyOut(at, target.baseAddress.unsafelyUnwrapped + done, length)
      if let untouched {
        // With mappings, what looks like a hole may be hidden, or be no memory at all.
        if try readFault(untouched, isChecked: hasMappings.load(.relaxed) != 0) { continue }
      }
      done += length
    }
  }

  /// Copies from within one 2 MiB slot. Returns an offset that was untouched and could be mapped.
  @inline(__always)
  private func copyOut(
    _ offset: UInt64, _ target: UnsafeMutableRawPointer, _ length: Int
  ) -> UInt64? {
    let section = grace.enter()
    let slot = slot(offset)
    var untouched: UInt64?
    if slot.entry.isVisible(.huge) {
      let within = Int(offset & UInt64(FrameGeometry.hugeSize - 1))
      let page = unsafe UnsafeRawPointer(arena.address(slot.entry.frame) + within)
      unsafe Self.copy(to: target, from: page, length, cold: page)
    } else if slot.entry.kind == .table {
      let table = Table(slot.entry.frame, in: arena)
      prefetch(offset, behind: table)
      var done = 0
      while done < length {
        let at = offset + UInt64(done)
        let piece = min(length - done, Self.rest(at, 1))
        let entry = table[Radix.index(at, 1)]
        if entry.isVisible(.small) {
          let within = Int(at & UInt64(FrameGeometry.frameSize - 1))
          let page = unsafe UnsafeRawPointer(arena.address(entry.frame) + within)
          unsafe Self.copy(to: target + done, from: page, piece, cold: page)
        } else {
          unsafe memset(target + done, 0, piece)
          if !entry.isVisible(.zero) && mayFault(slot) { untouched = at }
        }
        done += piece
      }
    } else {
      unsafe memset(target, 0, length)
      if !slot.entry.isVisible(.zero) && mayFault(slot) { untouched = offset }
    }
    section.leave()
    return untouched
  }

  /// Whether something may be mapped for the sake of a read below these tables. Below tables
  /// shared by a fork nothing is: copying tables in order to read is no bargain. With mappings,
  /// even a hole has to be looked up.
  @inline(__always)
  private func mayFault(_ slot: Slot) -> Bool {
    slot.exclusive && (slot.entry.kind != .table || slot.entry.isWritable)
      || hasMappings.load(.relaxed) != 0
  }

  /// Maps the zero page at an untouched place, as `do_huge_pmd_anonymous_page` does for a read.
  /// Where that fails the place stays untouched and reads as zeros all the same.
  /// `isChecked`: look whether the place is mapped at all, and return true if it turns out to have
  /// contents that the caller was not shown.
  @discardableResult
  func readFault(_ offset: UInt64, isChecked: Bool = false) throws(MemoryError) -> Bool {
    machine.events.fault.count()
    if isChecked {
      let shown = try lock.withLock { () throws(MemoryError) -> Bool in
        try checkLocked(.read, offset, 1)
        return isData(offset)
      }
      if shown { return true }
    }
    let policy = machine.policy
    if !policy.useZeroPage && !(policy.followsLinux && !lock.withLock { mayBeHuge(offset) }) {
      mapPrivate(offset)
      return false
    }
    // Twice at the most: first without a reference, since the table may have one already or the
    // page be there to take one on. It is allocated and cleared without the lock.
    var held = false
    while lock.withLock({ mapZero(offset, holding: &held) }) {
      guard machine.getZeroPage() != nil else {
        machine.events.faultFallback.count()
        return false
      }
      held = true
    }
    // Lost the race for the slot, or the table had a reference (history item 2).
    if held { machine.zeroPage.put() }
    return false
  }

  /// Under the lock: whether a page has contents.
  private func isData(_ offset: UInt64) -> Bool {
    var entry = slot(offset).entry
    if entry.kind == .table { entry = Table(entry.frame, in: arena)[Radix.index(offset, 1)] }
    return entry.kind == .huge || entry.kind == .small
  }

  /// Under the lock. Looks at the entry again and maps the zero page if the place is still
  /// untouched. Returns true if a reference is needed for that, `held` is not one and there is no
  /// page; clears `held` when the reference has been adopted.
  private func mapZero(_ offset: UInt64, holding held: inout Bool) -> Bool {
    guard let (table, index) = placeForZero(offset), table[index].kind == .none else {
      return false
    }
    switch machine.zeroReference {
    case .perTable:
      if table.zeroEntries == 0 {
        guard held || machine.getPublishedZeroPage() else { return true }
        held = false
      }
    case .perMapping:
      guard held || machine.getPublishedZeroPage() else { return true }
      held = false
    case .neverFreed:
      // The first mapping of all gives its reference to the machine, for ever.
      if machine.pinned.load(.acquire) == 0 {
        guard held else { return true }
        held = !machine.pinned.compareExchange(0, 1, .acquireRelease).exchanged
      }
    }
    table.set(index, .zero)
    return false
  }

  /// Under the lock: the table and the place in it for a zero entry at `offset`; nil where none
  /// is to be or can be made.
  @inline(__always)
  private func placeForZero(_ offset: UInt64) -> (Table, Int)? {
    let slot = slot(offset)
    let policy = machine.policy
    guard slot.exclusive || policy.followsLinux, mayRead(offset) else { return nil }
    switch slot.entry.kind {
    case .none:
      guard let upper = try? exclusiveTable(offset, 2) else { return noTable() }
      let index = Radix.index(offset, 2)
      if hasMappings.load(.relaxed) == 0 && !policy.followsLinux { return (upper, index) }
      let whole = policy.followsLinux ? mayBeHuge(offset) : isOneMapping(offset)
      if whole {
        touchMapping(offset)
        return (upper, index)
      }
      guard let table = try? smallTable(upper, index) else { return noTable() }
      return (table, Radix.index(offset, 1))
    case .table:
      if !slot.entry.isWritable || !slot.exclusive {
        guard policy.followsLinux, let table = try? exclusiveTable(offset, 1) else { return nil }
        return (table, Radix.index(offset, 1))
      }
      return (Table(slot.entry.frame, in: arena), Radix.index(offset, 1))
    default: return nil
    }
  }

  /// No memory for a table: the place reads as zeros without.
  private func noTable() -> (Table, Int)? {
    machine.events.faultFallback.count()
    return nil
  }

  /// Maps a cleared frame of this space's own at an untouched place, as the kernel does for a read
  /// with `use_zero_page` 0. No frame to be had is no error: the place reads as zeros unmapped.
  private func mapPrivate(_ offset: UInt64) {
    lock.withLock {
      let slot = slot(offset)
      guard slot.exclusive, slot.entry.kind == .none || slot.entry.isWritableTable,
        mayRead(offset), let upper = try? exclusiveTable(offset, 2)
      else { return }
      let writable = mapping(at: offset).protection.contains(.write)
      let index = Radix.index(offset, 2)
      if slot.entry.kind == .none && mayBeHuge(offset) {
        if let frame = allocateHuge(offset, zeroed: true) {
          upper.set(index, Entry(.huge, frame, writable: writable).charged)
          machine.events.faultAlloc.count()
          return
        }
        machine.events.faultFallback.count()
      }
      guard let table = try? smallTable(upper, index) else { return }
      let page = Radix.index(offset, 1)
      guard table[page].kind == .none, let frame = takeSmall(for: .none) else { return }
      unsafe memset(arena.address(frame), 0, FrameGeometry.frameSize)
      table.set(page, Entry(.small, frame, writable: writable).charged)
    }
  }
}

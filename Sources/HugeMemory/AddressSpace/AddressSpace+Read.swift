import Frames
import Glibc
import Paging

extension AddressSpace {
  /// Reads bytes into a buffer, as `read(at:into:)` with a span does. Untouched memory reads as zeros
  /// and, if the policy says so, gets the zero page mapped.
  ///
  /// Throws `notMapped` or `accessDenied` if a mapping does not allow reading.
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
        // With mappings, what looks like a hole may be hidden or not mapped at all.
        if try readFault(untouched, isChecked: hasMappings.load(.relaxed) != 0) { continue }
      }
      done += length
    }
  }

  /// Reads from one 2 MiB slot. Returns an untouched offset that could be mapped, if there is one.
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

  /// Whether a read may map something below these tables. Below tables that a fork shares it may
  /// not: copying tables in order to read does not pay. With mappings, even a hole has to be looked
  /// up.
  @inline(__always)
  private func mayFault(_ slot: Slot) -> Bool {
    slot.exclusive && (slot.entry.kind != .table || slot.entry.isWritable)
      || hasMappings.load(.relaxed) != 0
  }

  /// Maps the zero page at an untouched place, as `do_huge_pmd_anonymous_page` does for a read. If
  /// that fails, the place stays untouched and still reads as zeros.
  ///
  /// With `isChecked`, this first checks that the place is mapped, and returns true if it has
  /// contents that the caller has not read.
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
    // At most twice. The first try has no reference, because the table may already have one, or the
    // page may be there to take one on. The page is allocated and cleared without the lock.
    var held = false
    while lock.withLock({ mapZero(offset, holding: &held) }) {
      guard machine.getZeroPage() != nil else {
        machine.events.faultFallback.count()
        return false
      }
      held = true
    }
    // Another thread filled the slot first, or the table had a reference (history item 2).
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
  /// untouched. Returns true if the caller has to get a reference first: one is needed, `held` is
  /// false and there is no page. Clears `held` when the entry has taken over the reference.
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
      // The machine's first zero entry gives its reference to the machine, for ever.
      if machine.pinned.load(.acquire) == 0 {
        guard held else { return true }
        held = !machine.pinned.compareExchange(0, 1, .acquireRelease).exchanged
      }
    }
    table.set(index, .zero)
    return false
  }

  /// Under the lock: the table, and the index in it, for a zero entry at `offset`; nil if none may
  /// be mapped or no table can be made.
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

  /// There is no memory for a table, so the place reads as zeros without one.
  private func noTable() -> (Table, Int)? {
    machine.events.faultFallback.count()
    return nil
  }

  /// Maps a cleared frame of this space's own at an untouched place, as the kernel does for a read
  /// with `use_zero_page` 0. It is no error if there is no frame: the unmapped place reads as
  /// zeros.
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

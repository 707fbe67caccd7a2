import Frames
import Glibc
import Paging

extension AddressSpace {
  /// Copies bytes out. Untouched memory reads as zeros, and by policy maps the zero page.
  ///
  /// - Complexity: O(length); lock-free where memory is mapped.
  public func read(
    at offset: UInt64, into target: UnsafeMutableRawBufferPointer
  ) throws(MemoryError) {
    try check(offset, UInt64(target.count))
    var done = 0
    while done < target.count {
      let at = offset + UInt64(done)
      let length = min(target.count - done, Self.rest(at, 2))
      // SAFETY: `done + length` lies within `target`.
      let untouched = unsafe copyOut(at, target.baseAddress.unsafelyUnwrapped + done, length)
      done += length
      if let untouched { readFault(untouched) }
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
    switch slot.entry.kind {
    case .huge:
      let within = Int(offset & UInt64(FrameGeometry.hugeSize - 1))
      let page = unsafe UnsafeRawPointer(arena.address(slot.entry.frame) + within)
      unsafe Self.copy(to: target, from: page, length, cold: page)
    case .table:
      let table = Table(slot.entry.frame, in: arena)
      prefetch(offset, behind: table)
      var done = 0
      while done < length {
        let at = offset + UInt64(done)
        let piece = min(length - done, Self.rest(at, 1))
        let entry = table[Radix.index(at, 1)]
        if entry.kind == .small {
          let within = Int(at & UInt64(FrameGeometry.frameSize - 1))
          let page = unsafe UnsafeRawPointer(arena.address(entry.frame) + within)
          unsafe Self.copy(to: target + done, from: page, piece, cold: page)
        } else {
          unsafe memset(target + done, 0, piece)
          if entry.kind == .none && slot.exclusive && slot.entry.isWritable { untouched = at }
        }
        done += piece
      }
    default:
      unsafe memset(target, 0, length)
      if slot.entry.kind == .none && slot.exclusive { untouched = offset }
    }
    section.leave()
    return untouched
  }

  /// Maps the zero page at an untouched place, as `do_huge_pmd_anonymous_page` does for a read.
  /// Where that fails the place stays untouched and reads as zeros all the same. Below a table
  /// shared by a fork nothing is mapped: copying tables for the sake of reading is no bargain.
  func readFault(_ offset: UInt64) {
    machine.events.fault.count()
    guard machine.policy.useZeroPage else { return mapPrivate(offset) }
    // Twice at the most: first without a reference, since the table may have one already or the
    // page be there to take one on. It is allocated and cleared without the lock.
    var held = false
    while lock.withLock({ mapZero(offset, holding: &held) }) {
      guard machine.getZeroPage() != nil else {
        machine.events.faultFallback.count()
        return
      }
      held = true
    }
    // Lost the race for the slot, or the table had a reference (history item 2).
    if held { machine.zeroPage.put() }
  }

  /// Under the lock. Looks at the entry again and maps the zero page if the place is still
  /// untouched. Returns true if a reference is needed for that, `held` is not one and there is no
  /// page; clears `held` when the reference has been adopted.
  private func mapZero(_ offset: UInt64, holding held: inout Bool) -> Bool {
    let slot = slot(offset)
    guard slot.exclusive else { return false }
    let table: Table
    let index: Int
    switch slot.entry.kind {
    case .none:
      guard let made = try? exclusiveTable(offset, 2) else { return false }
      table = made
      index = Radix.index(offset, 2)
    case .table where slot.entry.isWritable:
      table = Table(slot.entry.frame, in: arena)
      index = Radix.index(offset, 1)
    default: return false
    }
    guard table[index].kind == .none else { return false }
    switch machine.policy.zeroReference {
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

  /// Maps a cleared frame of this space's own at an untouched place, as the kernel does for a read
  /// with `use_zero_page` 0. No frame to be had is no error: the place reads as zeros unmapped.
  private func mapPrivate(_ offset: UInt64) {
    lock.withLock {
      let slot = slot(offset)
      guard slot.exclusive, slot.entry.kind == .none || slot.entry.isWritableTable,
        let upper = try? exclusiveTable(offset, 2)
      else { return }
      let index = Radix.index(offset, 2)
      if slot.entry.kind == .none && machine.policy.hugePagesOnWrite {
        if let frame = arena.allocate(order: FrameGeometry.hugeOrder, zeroed: true) {
          upper.set(index, Entry(.huge, frame, writable: true))
          machine.events.faultAlloc.count()
          return
        }
        machine.events.faultFallback.count()
      }
      guard let table = try? smallTable(upper, index) else { return }
      let page = Radix.index(offset, 1)
      guard table[page].kind == .none, let frame = arena.allocateSmallZeroed() else { return }
      table.set(page, Entry(.small, frame, writable: true))
    }
  }
}

import Frames
import Glibc
import Paging

// Collapse: a slot of small pages becomes one huge frame (`collapse_huge_page`).
extension AddressSpace {
  /// Who asks for a collapse, and what it may cost.
  enum CollapseLimits {
    /// A caller. The collapse may cost anything.
    case requested
    /// The scanner, with the most untouched or zero entries and the most shared pages that a slot
    /// may have.
    case scanned(none: Int, shared: Int)
  }

  /// Collapses every slot of a range. If a slot cannot be collapsed, the other slots of its mapping
  /// still are; the last reason is thrown at the end of the mapping. A gap is thrown at the very
  /// end.
  func collapse(_ range: Range<UInt64>) throws(MemoryError) {
    let span = Radix.span(2)
    let parts = lock.withLock { self.parts(of: range) }
    for part in parts {
      var failure: MemoryError?
      var slot = (part.range.lowerBound + span - 1) & ~(span - 1)
      let hasSlot = part.mapping.end >= span && part.mapping.coversSlot(part.mapping.end - span)
      let isKnown = part.mapping.isTouched || !machine.policy.followsLinux
      guard hasSlot, isKnown, part.mapping.advice != .noHuge, slot <= part.range.upperBound else {
        throw .notCollapsible(
          offset: part.range.lowerBound,
          reason: "its mapping has no slot of 2 MiB there, or is advised against it")
      }
      while slot + span <= part.range.upperBound {
        do throws(MemoryError) { _ = try collapseSlot(slot, .requested) } catch { failure = error }
        // Linux goes on after a slot that cannot be collapsed, but not after an empty one.
        let isEmpty = lock.withLock { self.slot(slot).entry.kind == .none }
        if isEmpty && machine.policy.followsLinux { break }
        slot += span
      }
      if let failure { throw failure }
    }
    let gap = lock.withLock { mappings?.firstGap(in: range) }
    if let gap { throw .notMapped(offset: gap) }
  }

  /// Collapses one slot; false if it is huge already. Meanwhile readers go on and writers wait.
  func collapseSlot(_ slot: UInt64, _ limits: CollapseLimits) throws(MemoryError) -> Bool {
    // First checks whether the slot is worth a huge frame, which is not allocated under the lock.
    guard
      try lock.withLock({ () throws(MemoryError) in try isCollapsible(slot, limits) })
    else { return false }
    guard let frame = reclaimingAllocation() else { throw machine.full }
    machine.events.collapseAlloc.count()
    var isUsed = false
    defer { if !isUsed { arena.release(frame) } }
    isUsed = try lock.withLock { () throws(MemoryError) -> Bool in
      guard try isCollapsible(slot, limits) else { return false }
      let upper = try exclusiveTable(slot, 2)
      withoutWriters(upper, Radix.index(slot, 2)) { old in
        let isKept = fill(frame, from: Table(old.frame, in: arena))
        let mapping = mapping(at: slot)
        let entry = Entry(.huge, frame, writable: mapping.protection.contains(.write))
          .kept(isKept).charged
        upper.set(Radix.index(slot, 2), mapping.protection.isEmpty ? entry.hidden : entry)
        charge(FrameGeometry.framesPerHuge)
        retire(old, level: 1)
      }
      return true
    }
    machine.settle()
    return isUsed
  }

  private func reclaimingAllocation() -> FrameNumber? {
    if let frame = arena.allocate(order: FrameGeometry.hugeOrder, zeroed: false) { return frame }
    machine.shrink()
    return arena.allocate(order: FrameGeometry.hugeOrder, zeroed: false)
  }

  /// Copies a slot's pages into a huge frame, with zeros where there are none. Returns whether any
  /// of them is marked as kept.
  private func fill(_ frame: FrameNumber, from table: Table) -> Bool {
    var isKept = false
    for page in 0..<Table.count {
      let target = unsafe arena.address(frame + FrameNumber(page))
      let small = table[page]
      isKept = isKept || small.isKept
      if small.kind == .small {
        unsafe memcpy(target, arena.address(small.frame), FrameGeometry.frameSize)
      } else {
        unsafe memset(target, 0, FrameGeometry.frameSize)
      }
    }
    return isKept
  }

  /// Whether a slot is small and may become huge; false if it is huge already. Throws the reason if
  /// it may not.
  private func isCollapsible(_ slot: UInt64, _ limits: CollapseLimits) throws(MemoryError) -> Bool {
    let mapping = mapping(at: slot)
    func refuse(_ reason: String) -> MemoryError { .notCollapsible(offset: slot, reason: reason) }
    guard mapping.coversSlot(slot) else { throw refuse("its mapping is smaller") }
    guard mapping.advice != .noHuge else { throw refuse("it is advised against") }
    if case .scanned = limits, !mayCollapse(slot) { throw refuse("not enabled") }
    guard !isHeld(slot) else { throw refuse("it is in use in place") }
    // Some of its pages may be still to come.
    guard machine.absentContents == 0 else { throw refuse("contents are being loaded") }
    let found = self.slot(slot)
    let entry = found.entry
    switch entry.kind {
    case .huge, .zero: return false
    case .none, .small: throw refuse("nothing is mapped")
    case .table: break
    }
    let table = Table(entry.frame, in: arena)
    let isShared = !found.exclusive || !entry.isWritable && !arena.hasOneReference(entry.frame)
    var shared = 0
    var present = 0
    for page in 0..<Table.count where table[page].kind == .small {
      present += 1
      if isShared || !arena.hasOneReference(table[page].frame) { shared += 1 }
    }
    try admit(FrameGeometry.framesPerHuge - (found.exclusive ? chargeOf(entry) : 0))
    // Linux makes a huge frame of nothing but zeros as well.
    guard present > 0 || machine.policy.followsLinux else {
      throw refuse("it holds nothing but zeros")
    }
    if case .scanned(let maximalNone, let maximalShared) = limits {
      guard Table.count - present <= maximalNone else { throw refuse("too many untouched pages") }
      guard shared <= maximalShared else { throw refuse("too many shared pages") }
    }
    return true
  }
}

import Frames
import Glibc
import Paging
import Primitives

// What a write does that found no memory: it asks for some to be reclaimed, of the machine's or of
// the space's own, and tries again.
extension AddressSpace {
  /// As `writeFault`, which has thrown `first`: again as long as memory is found for it, since others
  /// may be faster to take that. Holds no lock and is in no section.
  @inline(never)
  func writeAgain(
    _ offset: UInt64, _ source: UnsafeRawPointer, _ length: Int, after first: MemoryError
  ) throws(MemoryError) -> Int {
    var error = first
    // As often as the kernel (`MAX_RECLAIM_RETRIES`).
    for _ in 0..<16 {
      guard makesRoom(after: error) else { break }
      do { return unsafe try writeFault(offset, source, length) } catch let again { error = again }
    }
    throw error
  }

  /// Whether there may be room now where there was none.
  private func makesRoom(after error: MemoryError) -> Bool {
    switch error {
    case .outOfMemory: machine.reclaimDirectly()
    case .overQuota: splitOwn()
    default: false
    }
  }

  /// Takes huge frames of this space apart that have zeros to give, so that its charge falls: first
  /// those that are zeros for the most part. Returns whether there were any.
  ///
  /// Where all was looked through for nothing, this is not begun again for a second, or ten times as
  /// long as it took, unless the space has a new huge frame or other limits by then.
  private func splitOwn() -> Bool {
    guard machine.policy.shrinkUnderused else { return false }
    let start = monotonicTime()
    // Nil: the quota was lifted meanwhile.
    guard var look = lock.withLock({ beginLook() }) else { return true }
    guard look.hasNew || start >= look.notBefore else { return false }
    var dropped = 0
    var isOver = false
    while dropped < Machine.cluster, !isOver {
      if let slot = nextSlot(from: look.offset, { $0 == .huge }) {
        let limit = Machine.sparseLimit(isLast: look.isLast)
        dropped += splitUnderused(slot, min(Int(machine.policy.maxPtesNone), limit))
        look.offset = slot + Radix.span(2)
      } else {
        isOver = look.isLast && !look.hasNew
        if look.isLast { look.hasNew = false }
        look.isLast.toggle()
        look.offset = 0
      }
    }
    look.notBefore = isOver && dropped == 0 ? Machine.lookAgain(after: start) : 0
    lock.withLock { endLook(look) }
    return dropped > 0
  }

  /// Under the lock. What becomes huge from now on is new.
  private func beginLook() -> Limits.Look? {
    defer { limits?.look.hasNew = false }
    return limits?.look
  }

  /// Under the lock.
  private func endLook(_ look: Limits.Look) {
    guard let hasNew = limits?.look.hasNew else { return }
    limits?.look = look
    if hasNew { limits?.look.hasNew = true }
  }
}

import Frames
import Glibc
import Paging
import Primitives

// What a write does when it finds no memory: it has some reclaimed, from the machine or from the
// space itself, and tries again.
extension AddressSpace {
  /// As `writeFault`, which has thrown `first`. Tries again as long as reclaim finds memory,
  /// because other threads may take that memory first. The caller holds no lock and is in no
  /// section.
  @inline(never)
  func writeAgain(
    _ offset: UInt64, _ source: UnsafeRawPointer, _ length: Int, after first: MemoryError
  ) throws(MemoryError) -> Int {
    var error = first
    // As often as the kernel does (`MAX_RECLAIM_RETRIES`).
    for _ in 0..<16 {
      guard makesRoom(after: error) else { break }
      do { return unsafe try writeFault(offset, source, length) } catch let again { error = again }
    }
    throw error
  }

  /// Tries to make room. Returns whether there may be some now.
  private func makesRoom(after error: MemoryError) -> Bool {
    switch error {
    case .outOfMemory: machine.reclaimDirectly()
    case .overQuota: splitOwn()
    default: false
    }
  }

  /// Takes apart huge frames of this space that hold pages of zeros, so that its charge falls.
  /// Frames that are mostly zeros come first. Returns whether it dropped any page.
  ///
  /// If it looked at all huge frames and dropped nothing, it does not begin again for a second, or
  /// for ten times as long as it took. A new huge frame of the space, or other limits, end that
  /// pause.
  private func splitOwn() -> Bool {
    guard machine.policy.shrinkUnderused else { return false }
    let start = monotonicTime()
    // Nil if the quota was lifted meanwhile.
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

  /// Under the lock: begins a look. What becomes huge from now on is new.
  private func beginLook() -> Limits.Look? {
    defer { limits?.look.hasNew = false }
    return limits?.look
  }

  /// Under the lock: saves how far the look got.
  private func endLook(_ look: Limits.Look) {
    guard let hasNew = limits?.look.hasNew else { return }
    limits?.look = look
    if hasNew { limits?.look.hasNew = true }
  }
}

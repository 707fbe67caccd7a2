import Frames

// What the mappings allow, for accesses and for huge pages. A space without a list is one mapping
// that allows reads and writes; it pays only for the load of `hasMappings`.
extension AddressSpace {
  /// Where the one mapping of a space without a list ends. Its last slot may be huge too, because
  /// nothing beyond the size is ever touched.
  var mappableEnd: UInt64 {
    let mask = UInt64(FrameGeometry.hugeSize - 1)
    return (size + mask) & ~mask
  }

  /// The one mapping of a space without a list.
  var wholeSpace: Mapping { Mapping(start: 0, end: mappableEnd, origin: 0) }

  /// Under the lock: the mapping at an offset. If there is none, an empty one without access.
  func mapping(at offset: UInt64) -> Mapping {
    guard let mappings else { return wholeSpace }
    return mappings.mapping(at: offset)
      ?? Mapping(start: offset, end: offset, protection: [], advice: .noHuge, origin: offset)
  }

  /// Under the lock: whether a fault in a slot may map a huge frame, by its mapping and `enabled`
  /// (`thp_vma_allowable_order`).
  func mayBeHuge(_ offset: UInt64) -> Bool {
    let enabled = machine.policy.enabled
    if hasMappings.load(.relaxed) == 0 { return enabled == .always }
    return enabled != .collapse && mayCollapse(offset)
  }

  /// Under the lock: whether reads are allowed at an offset. The mapping may have changed since the
  /// fault began.
  func mayRead(_ offset: UInt64) -> Bool {
    hasMappings.load(.relaxed) == 0 || mapping(at: offset).protection.contains(.read)
  }

  /// Under the lock: whether one mapping covers a slot.
  func isOneMapping(_ offset: UInt64) -> Bool {
    hasMappings.load(.relaxed) == 0 || mapping(at: offset).coversSlot(offset)
  }

  /// Under the lock: called when a fault maps memory of a mapping's own.
  @inline(__always)
  func touchMapping(_ offset: UInt64) {
    if hasMappings.load(.relaxed) != 0 { mappings?.touch(offset) }
  }

  /// Under the lock: whether the scanner may make a slot huge.
  func mayCollapse(_ offset: UInt64) -> Bool {
    let mapping = mapping(at: offset)
    guard mapping.coversSlot(offset) else { return false }
    return switch machine.policy.enabled {
    case .always, .collapse: mapping.advice != .noHuge
    case .madvise: mapping.advice == .huge
    case .never: false
    }
  }

  /// An access to several pages is checked as a whole before it changes anything. The fault checks
  /// an access to one page.
  @inline(__always)
  func checkAccess(
    _ access: Protection, _ offset: UInt64, _ length: Int
  ) throws(MemoryError) {
    guard hasMappings.load(.relaxed) != 0, length > Self.rest(offset, 1) else { return }
    try checkMappings(access, offset, length)
  }

  @inline(never)
  func checkMappings(
    _ access: Protection, _ offset: UInt64, _ length: Int
  ) throws(MemoryError) {
    try lock.withLock { () throws(MemoryError) in try checkLocked(access, offset, length) }
  }

  func checkLocked(
    _ access: Protection, _ offset: UInt64, _ length: Int
  ) throws(MemoryError) {
    guard let mappings else { return }
    let range = offset..<offset + UInt64(length)
    if let refusal = mappings.firstRefusal(of: access, in: range) { throw refusal }
  }

  /// Under the lock: how many bytes, at most `length`, an access may go on from `offset` within its
  /// mapping. Throws if the access is not allowed at `offset`.
  func lengthAllowed(
    _ access: Protection, _ offset: UInt64, _ length: Int
  ) throws(MemoryError) -> Int {
    guard hasMappings.load(.relaxed) != 0 else { return length }
    try checkLocked(access, offset, 1)
    return min(length, Int(clamping: mapping(at: offset).end - offset))
  }
}

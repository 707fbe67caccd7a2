import Frames
import Paging

/// What to do with a range of memory, as in `madvise(2)`.
public enum Advice: Sendable, Hashable, CaseIterable {
  /// Faults may map huge frames, even if `enabled` is `madvise`.
  case huge
  /// Faults map 4 KiB, even if `enabled` is `always`. What is huge stays huge.
  case noHuge
  /// The memory is freed and reads as zeros. The mapping stays.
  case discard
  /// Every slot of 2 MiB becomes a huge frame now, whatever `enabled` says.
  case collapse
  /// Every page is faulted in as if it were read, so that later reads do not fault.
  case populateRead
  /// Every page is faulted in as if it were written with what it holds, so that later writes do not
  /// fault.
  case populateWrite
}

// Changing what is mapped. All ranges consist of whole pages of 4 KiB. Accesses of other threads
// that begin after a call see all of its change. A call either throws before it changes anything,
// or documents what it did.
extension AddressSpace {
  /// Maps untouched memory, in place of what was there (`mmap`, `MAP_FIXED`).
  ///
  /// Throws `outOfRange` or `misaligned` unless the range consists of whole pages of 4 KiB within the
  /// space, and `outOfMemory` or `overQuota` if there is no memory for a table that the space shares
  /// with a fork. Then nothing has changed.
  ///
  /// - Complexity: O(tables and pages that the range touched), and O(mappings).
  public func map(
    _ range: Range<UInt64>, protection: Protection = [.read, .write]
  ) throws(MemoryError) {
    try map(
      at: range.lowerBound, length: range.upperBound - range.lowerBound, protection: protection)
  }

  /// As `map(_:protection:)`.
  package func map(
    at offset: UInt64, length: UInt64, protection: Protection = [.read, .write]
  ) throws(MemoryError) {
    let range = try pages(offset, length)
    try change { () throws(MemoryError) in
      try unmapPages(range)
      mappings?.insert(
        Mapping(
          start: range.lowerBound, end: range.upperBound, protection: protection.normalized,
          origin: range.lowerBound))
    }
    machine.settle()
  }

  /// Removes mappings and their memory. Accesses then throw `notMapped` (`munmap`). Throws as `map`
  /// does.
  ///
  /// - Complexity: O(tables and pages that the range touched), and O(mappings).
  public func unmap(_ range: Range<UInt64>) throws(MemoryError) {
    try unmap(at: range.lowerBound, length: range.upperBound - range.lowerBound)
  }

  /// As `unmap(_:)`.
  package func unmap(at offset: UInt64, length: UInt64) throws(MemoryError) {
    let range = try pages(offset, length)
    try change { () throws(MemoryError) in try unmapPages(range) }
    machine.settle()
  }

  /// Changes what a range allows (`mprotect`). When this returns, no access that is now forbidden
  /// is still going on. Throws `notMapped` if the range has a gap, and otherwise as `map` does. Then
  /// nothing has changed.
  ///
  /// - Complexity: O(tables and pages that the range touches), and O(mappings).
  public func protect(_ range: Range<UInt64>, _ protection: Protection) throws(MemoryError) {
    try protect(at: range.lowerBound, length: range.upperBound - range.lowerBound, protection)
  }

  /// As `protect(_:_:)`.
  package func protect(
    at offset: UInt64, length: UInt64, _ protection: Protection
  ) throws(MemoryError) {
    let range = try pages(offset, length)
    let protection = protection.normalized
    try change { () throws(MemoryError) in
      let gap = mappings?.firstGap(in: range)
      if let gap, !machine.policy.followsLinux { throw .notMapped(offset: gap) }
      let parts = parts(of: range.lowerBound..<(gap ?? range.upperBound))
        .filter { $0.mapping.protection != protection }
      // Everything that can fail comes before anything is changed.
      for part in parts { try own(part.range) }
      for part in parts {
        show(part.range, protection)
        mappings?.update(part.range) { $0.protection = protection }
      }
      // Before any other thread gets the lock: it takes an entry without `W` as proof that no write
      // through it is going on.
      if !parts.isEmpty { machine.flushTranslations() }
      // Linux has changed everything up to the gap.
      if let gap { throw .notMapped(offset: gap) }
    }
  }

  /// Gives advice (`madvise`). The advice applies to everything in the range that is mapped. If the
  /// range has a gap, this then throws `notMapped`. Throws `outOfRange` or `misaligned` unless the
  /// range consists of whole pages of 4 KiB within the space.
  ///
  /// - Complexity: O(mappings) for `huge` and `noHuge`, else O(pages of the range).
  public func advise(_ range: Range<UInt64>, _ advice: Advice) throws(MemoryError) {
    try advise(at: range.lowerBound, length: range.upperBound - range.lowerBound, advice)
  }

  /// As `advise(_:_:)`.
  package func advise(
    at offset: UInt64, length: UInt64, _ advice: Advice
  ) throws(MemoryError) {
    let range = try pages(offset, length)
    switch advice {
    case .huge: try set(.huge, range)
    case .noHuge: try set(.noHuge, range)
    case .discard:
      try discard(at: offset, length: length)
      if let gap = lock.withLock({ mappings?.firstGap(in: range) }) {
        throw .notMapped(offset: gap)
      }
    case .collapse: try collapse(range)
    case .populateRead: try populate(range, .read)
    case .populateWrite: try populate(range, .write)
    }
  }

  private func set(_ advice: Mapping.Advice, _ range: Range<UInt64>) throws(MemoryError) {
    try change { () throws(MemoryError) in
      let parts = parts(of: range).filter { $0.mapping.advice != advice }
      for part in parts { try splitEdges(part.range) }
      for part in parts { mappings?.update(part.range) { $0.advice = advice } }
      if let gap = mappings?.firstGap(in: range) { throw .notMapped(offset: gap) }
    }
  }

  // MARK: Under the lock

  /// Runs `body` under the lock. The space has a list of mappings from then on.
  func change(_ body: () throws(MemoryError) -> Void) throws(MemoryError) {
    try lock.withLock { () throws(MemoryError) in
      if mappings == nil {
        mappings = MappingList(wholeSpace)
        hasMappings.store(1, .release)
      }
      try body()
    }
  }

  /// The mapped parts of a range, each within one mapping.
  func parts(
    of range: Range<UInt64>
  ) -> [(range: Range<UInt64>, mapping: Mapping)] {
    let all = mappings?.all ?? [wholeSpace]
    return all.compactMap { mapping in
      let part = range.clamped(to: mapping.start..<mapping.end)
      return part.isEmpty ? nil : (part, mapping)
    }
  }

  /// Removes pages and mappings, or throws and has removed nothing.
  func unmapPages(_ range: Range<UInt64>) throws(MemoryError) {
    try unmapEntries(range)
    mappings?.remove(range)
    // As in `free_pgtables`: a slot without any mapping keeps no table, so it can be huge again.
    dropUnmappedTable(range.lowerBound)
    dropUnmappedTable(range.upperBound - 1)
  }

  func unmapEntries(_ range: Range<UInt64>) throws(MemoryError) {
    givesBack = true
    defer { givesBack = false }
    try splitEdges(range)
    try discardPages(range, mayClear: false)
  }

  func dropUnmappedTable(_ offset: UInt64) {
    dropTable(offset, unlessMappedBy: mappings?.all ?? [])
  }

  /// Removes the small table of a slot that none of these mappings touches.
  func dropTable(_ offset: UInt64, unlessMappedBy mappings: [Mapping]) {
    let start = Radix.start(offset, 2)
    let end = start + Radix.span(2)
    let found = slot(offset)
    guard found.entry.kind == .table,
      !mappings.contains(where: { $0.start < end && $0.end > start }),
      let upper = try? exclusiveTable(offset, 2)
    else { return }
    // Read again, because `exclusiveTable` may have copied the tables above it.
    let old = upper[Radix.index(offset, 2)]
    replace(upper, Radix.index(offset, 2), .none)
    retire(old, level: 1)
  }

  /// Makes the entries of a range show what is allowed. Their tables are this space's own.
  private func show(_ range: Range<UInt64>, _ protection: Protection) {
    updateEntries(in: range) { entry in
      if protection.isEmpty { return entry.hidden }
      return protection.contains(.write) ? entry.shown : entry.shown.protected
    }
  }

  /// Checks that a range is whole pages within the space, and returns it as a range of offsets. The
  /// last page and slot count as whole, because nothing beyond the size is ever touched.
  func pages(_ offset: UInt64, _ length: UInt64) throws(MemoryError) -> Range<UInt64> {
    let mask = UInt64(FrameGeometry.frameSize - 1)
    guard offset < size, length <= mappableEnd - offset else {
      throw .outOfRange(offset: offset, length: length, size: size)
    }
    let end = offset + length
    guard length > 0, offset & mask == 0, end & mask == 0 || end == size else {
      throw .misaligned(offset: offset, length: length)
    }
    return offset..<(end >= size ? mappableEnd : end)
  }
}

extension Protection {
  /// Memory that can be written can also be read, as on x86-64.
  var normalized: Protection { contains(.write) ? [.read, .write] : self }
}

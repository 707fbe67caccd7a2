import Paging

/// What a mapping allows. The empty set allows no access.
public struct Protection: OptionSet, Sendable, Hashable, CustomStringConvertible {
  /// The bits: 1 for reads, 2 for writes.
  public let rawValue: UInt8
  /// A set with these bits.
  public init(rawValue: UInt8) { self.rawValue = rawValue }
  /// Allows reads.
  public static let read = Protection(rawValue: 1)
  /// Allows writes. Does not include `read`. A mapping that allows writes always allows reads as well: `map` and
  /// `protect` add `read`.
  public static let write = Protection(rawValue: 2)

  /// What is allowed, in words.
  public var description: String {
    isEmpty ? "no access" : contains(.write) ? "reading and writing" : "reading"
  }
}

/// A range with one protection and one advice; the kernel's `vm_area_struct`.
struct Mapping: Equatable, Sendable {
  enum Advice: Sendable { case none, huge, noHuge }

  /// In bytes; multiples of 4 KiB.
  var start: UInt64
  var end: UInt64
  var protection: Protection = [.read, .write]
  var advice = Advice.none
  /// Where `start` was when it was mapped (`vm_pgoff`). As in the kernel, a mapping does not join a
  /// neighbour that came from elsewhere, and no huge page crosses the border of two mappings.
  var origin: UInt64
  /// The family (`anon_vma`): the mappings that this one was joined with when a fault first mapped
  /// memory of its own, or a huge entry. 0 before that. Mappings of different families are not
  /// joined.
  var family: UInt64 = 0
  /// Whether that fault was before a fork, in the fork's origin. If so, not even untouched
  /// neighbours join the mapping.
  var isForked = false
  var isTouched: Bool { family != 0 }

  /// Whether the whole 2 MiB slot at `offset` lies within the mapping.
  func coversSlot(_ offset: UInt64) -> Bool {
    let slot = Radix.start(offset, 2)
    return start <= slot && end - slot >= Radix.span(2)
  }

  /// Whether this mapping and `next`, which begins at its end, can be joined.
  func continues(in next: Mapping) -> Bool {
    guard protection == next.protection, isNeighbour(of: next) else { return false }
    if family == 0 { return !next.isForked }
    if next.family == 0 { return !isForked }
    return family == next.family
  }

  private func isNeighbour(of next: Mapping) -> Bool {
    end == next.start && advice == next.advice && origin &+ (end - start) == next.origin
  }

  /// Whether a fault in this mapping joins the family of its neighbour (`find_mergeable_anon_vma`).
  func joins(before other: Mapping) -> Bool {
    other.family != 0 && !other.isForked && isNeighbour(of: other)
  }
  func joins(after other: Mapping) -> Bool {
    other.family != 0 && !other.isForked && other.isNeighbour(of: self)
  }
}

/// The mappings of a space, in order and without overlap. Neighbours that can be joined are joined.
///
/// - Complexity: O(log n) to find one, O(n) to change some.
struct MappingList: Equatable, Sendable {
  private(set) var all: [Mapping]
  private var families: UInt64 = 0

  /// One mapping for the whole space.
  init(_ mapping: Mapping) { all = [mapping] }

  func mapping(at offset: UInt64) -> Mapping? {
    let index = firstIndex(endingAfter: offset)
    return index < all.count && all[index].start <= offset ? all[index] : nil
  }

  /// The first offset in a range that has no mapping, if any.
  func firstGap(in range: Range<UInt64>) -> UInt64? {
    var at = range.lowerBound
    while at < range.upperBound {
      guard let mapping = mapping(at: at) else { return at }
      at = mapping.end
    }
    return nil
  }

  /// The first offset in a range whose mapping does not allow `access`, if any.
  func firstRefusal(of access: Protection, in range: Range<UInt64>) -> MemoryError? {
    var at = range.lowerBound
    while at < range.upperBound {
      guard let mapping = mapping(at: at) else { return .notMapped(offset: at) }
      guard mapping.protection.isSuperset(of: access) else {
        return .accessDenied(offset: at, protection: mapping.protection)
      }
      at = mapping.end
    }
    return nil
  }

  /// Called when a fault maps memory of a mapping's own.
  mutating func touch(_ offset: UInt64) {
    let index = firstIndex(endingAfter: offset)
    guard index < all.count, all[index].start <= offset, all[index].family == 0 else { return }
    if index + 1 < all.count, all[index].joins(before: all[index + 1]) {
      all[index].family = all[index + 1].family
    } else if index > 0, all[index].joins(after: all[index - 1]) {
      all[index].family = all[index - 1].family
    } else {
      families += 1
      all[index].family = families
    }
  }

  /// The list for a fork. Mappings of one family get a family each.
  var forked: MappingList {
    var copy = self
    for index in copy.all.indices where copy.all[index].family != 0 {
      copy.families += 1
      copy.all[index].family = copy.families
      copy.all[index].isForked = true
    }
    return copy
  }

  mutating func remove(_ range: Range<UInt64>) {
    all.removeSubrange(cut(range))
  }

  /// Replaces what is mapped in a mapping's range.
  mutating func insert(_ mapping: Mapping) {
    let indices = cut(mapping.start..<mapping.end)
    all.replaceSubrange(indices, with: CollectionOfOne(mapping))
    join(around: indices.lowerBound..<indices.lowerBound + 1)
  }

  mutating func update(_ range: Range<UInt64>, _ change: (inout Mapping) -> Void) {
    let indices = cut(range)
    for index in indices { change(&all[index]) }
    join(around: indices)
  }

  private func firstIndex(endingAfter offset: UInt64) -> Int {
    var low = 0
    var high = all.count
    while low < high {
      let middle = (low + high) / 2
      if all[middle].end > offset { high = middle } else { low = middle + 1 }
    }
    return low
  }

  /// Cuts mappings at the ends of a range. Returns the indices of those within it.
  private mutating func cut(_ range: Range<UInt64>) -> Range<Int> {
    cut(at: range.lowerBound)
    cut(at: range.upperBound)
    let first = firstIndex(endingAfter: range.lowerBound)
    var last = first
    while last < all.count && all[last].start < range.upperBound { last += 1 }
    return first..<last
  }

  private mutating func cut(at offset: UInt64) {
    let index = firstIndex(endingAfter: offset)
    guard index < all.count, all[index].start < offset else { return }
    var upper = all[index]
    upper.origin &+= offset - upper.start
    upper.start = offset
    all[index].end = offset
    all.insert(upper, at: index + 1)
  }

  /// Joins from below, as the kernel does: if a mapping could join either neighbour but not both,
  /// the lower one wins.
  private mutating func join(around indices: Range<Int>) {
    var index = max(indices.lowerBound, 1)
    var last = indices.upperBound
    while index <= last && index < all.count {
      guard all[index - 1].continues(in: all[index]) else {
        index += 1
        continue
      }
      all[index - 1].end = all[index].end
      all[index - 1].family = max(all[index - 1].family, all[index].family)
      all[index - 1].isForked = all[index - 1].isForked || all[index].isForked
      all.remove(at: index)
      last -= 1
    }
  }
}

import HugeMemory

extension Storage {
  /// The parts where the first `count` elements differ from `otherCount` ones of another storage,
  /// each one or more whole pages.
  func differences(_ count: Int, _ other: Storage, _ otherCount: Int) -> [Range<Int>] {
    let longest = max(count, otherCount)
    let shortest = min(count, otherCount)
    let tail = shortest < longest ? [shortest..<longest] : []
    if other === self { return tail }
    guard other.space.machine === space.machine else {
      return Self.merged(stored(count) + other.stored(otherCount) + tail)
    }
    var ranges: [Range<Int>] = []
    let (larger, smaller) =
      space.size >= other.space.size ? (space, other.space) : (other.space, space)
    let end = layout.end(shortest)
    var offset: UInt64 = 0
    while offset < end {
      guard
        let part = try? larger.firstComparison(with: smaller, at: offset, length: end - offset)
      else { break }
      if !part.isSame { ranges.append(indices(part.offset, part.end, shortest)) }
      offset = part.end
    }
    return Self.merged(ranges + tail)
  }

  /// Ranges in order, joined where they touch.
  private static func merged(_ ranges: [Range<Int>]) -> [Range<Int>] {
    var merged: [Range<Int>] = []
    for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) where !range.isEmpty {
      if let last = merged.last, last.upperBound >= range.lowerBound {
        merged[merged.count - 1] = last.lowerBound..<max(last.upperBound, range.upperBound)
      } else {
        merged.append(range)
      }
    }
    return merged
  }
}

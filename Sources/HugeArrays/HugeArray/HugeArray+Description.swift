extension HugeArray: CustomStringConvertible, CustomDebugStringConvertible {
  /// The elements, as `Array` prints them. Of more than 1,000 elements it is their number, and the
  /// ranges that have memory.
  public var description: String {
    guard count > 1000 else { return Array(self).description }
    let ranges = nonZeroRanges
    let shown = ranges.prefix(16).map(\.description).joined(separator: ", ")
    return "\(count) elements, of which \(ranges.isEmpty ? "none" : shown)"
      + "\(ranges.count > 16 ? ", …" : "") may not be 0"
  }

  /// The same, with the type's name.
  public var debugDescription: String { "HugeArray(\(description))" }
}

extension HugeArray: CustomReflectable {
  /// The elements, as `Array` shows them. Of more than 1,000 elements, their number and the ranges that
  /// have memory.
  public var customMirror: Mirror {
    guard count > 1000 else {
      return Mirror(self, unlabeledChildren: Array(self), displayStyle: .collection)
    }
    return Mirror(
      self, children: ["count": count, "nonZeroRanges": nonZeroRanges], displayStyle: .struct)
  }
}

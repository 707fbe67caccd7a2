// Encoded are the number of elements and what is not zeros:
//
//     {"count": 1099511627776, "parts": [[0, 1, 2], [512, 7]]}
//
// A part is the index of its first element, and its elements. Zeros at its ends are left out.

private enum Keys: CodingKey {
  case count, parts
}

extension HugeArray: Encodable where Element: Encodable {
  /// Encodes the number of elements, and those that are not zeros with their indices.
  ///
  /// - Complexity: O(pages in memory)
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: Keys.self)
    try container.encode(count, forKey: .count)
    var parts = container.nestedUnkeyedContainer(forKey: .parts)
    for range in nonZeroRanges {
      let range = trimmed(range)
      guard !range.isEmpty else { continue }
      var part = parts.nestedUnkeyedContainer()
      try part.encode(range.lowerBound)
      var elements = Iterator(storage, range)
      while let element = elements.next() { try part.encode(element) }
    }
  }

  /// A range without the zeros at its ends.
  private func trimmed(_ range: Range<Int>) -> Range<Int> {
    let first = range.first { !Self.isZero(self[$0]) }
    guard let first, let last = range.last(where: { !Self.isZero(self[$0]) }) else {
      return range.lowerBound..<range.lowerBound
    }
    return first..<last + 1
  }
}

extension HugeArray: Decodable where Element: Decodable {
  /// Decodes what `encode(to:)` has written. Throws `DecodingError.dataCorrupted` if the number of
  /// elements is not possible or a part lies outside of it.
  ///
  /// - Complexity: O(elements that are encoded)
  public init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: Keys.self)
    let count = try container.decode(Int.self, forKey: .count)
    guard count >= 0, count <= Self.layout.maximalCount else {
      throw DecodingError.dataCorruptedError(
        forKey: .count, in: container, debugDescription: "\(count) elements are not possible")
    }
    self.init(count: count, machine: .shared)
    var parts = try container.nestedUnkeyedContainer(forKey: .parts)
    while !parts.isAtEnd {
      var part = try parts.nestedUnkeyedContainer()
      var index = try part.decode(Int.self)
      while !part.isAtEnd {
        guard index >= 0, index < count else {
          throw DecodingError.dataCorruptedError(
            in: part, debugDescription: "there is no element \(index) among \(count)")
        }
        try store(part.decode(Element.self), at: index)
        index += 1
      }
    }
  }
}

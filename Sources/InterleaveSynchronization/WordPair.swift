/// Two words that an `Atomic` accesses as one, such as an index and a tag. The same type as in
/// `Synchronization`.
///
/// Under the checker, a pair that holds an address as an integer differs from execution to
/// execution, which is reported as `nondeterminism`. Use indices.
public struct WordPair: BitwiseCopyable, Hashable, Sendable {
  /// The first word.
  public var first: UInt
  /// The second word.
  public var second: UInt

  /// Makes a pair of two words.
  public init(first: UInt, second: UInt) {
    self.first = first
    self.second = second
  }
}

extension WordPair: AtomicRepresentable {
  /// 128 bits.
  public typealias AtomicRepresentation = AtomicBits<UInt128>

  /// Makes the representation of a pair.
  public static func encodeAtomicRepresentation(
    _ value: consuming WordPair
  ) -> AtomicRepresentation {
    AtomicRepresentation(UInt128(value.second) << 64 | UInt128(value.first))
  }
  /// Makes the pair of a representation.
  public static func decodeAtomicRepresentation(
    _ storage: consuming AtomicRepresentation
  ) -> WordPair {
    WordPair(
      first: UInt(truncatingIfNeeded: storage.bits),
      second: UInt(truncatingIfNeeded: storage.bits >> 64))
  }
}

extension WordPair: Comparable {
  /// Compares the first words, and the second ones if the first are equal.
  public static func < (lhs: WordPair, rhs: WordPair) -> Bool {
    (lhs.first, lhs.second) < (rhs.first, rhs.second)
  }
}

extension WordPair: CustomStringConvertible, CustomDebugStringConvertible {
  /// Both words, by name.
  public var description: String { "WordPair(first: \(first), second: \(second))" }
  /// Both words, by name.
  public var debugDescription: String { description }
}

internal import Interleave

/// An atomic value whose accesses the checker sees. It has the methods of `Synchronization.Atomic`.
/// Their parameters `file` and `line` make traces show the lines of the code under test.
///
/// Create it in the closure that sets up a scenario, as part of the object under test. It is valid
/// only in that execution, and only on the threads of the scenario. It counts as one of the 56
/// words. A use outside of `Checker.run` ends the program with a message.
///
/// A weak compare-and-swap may fail spuriously, but not twice in succession in one thread.
///
/// - Thread safety: the methods may be called by every thread of the scenario.
public struct Atomic<Value: AtomicRepresentable>: ~Copyable {
  let word: StandInWord

  /// Makes an atomic that holds `initialValue`.
  public init(
    _ initialValue: consuming Value, file: StaticString = #fileID, line: UInt = #line
  ) {
    let site = Site(file: file, line: line)
    StandInWord.prepare(site)
    word = StandInWord(Self.code(initialValue), "\(Self.self)", site) {
      Self.describe(code: $0)
    }
  }

  static func code(_ value: consuming Value) -> UInt64 {
    Value.encodeAtomicRepresentation(value).code()
  }

  static func value(_ code: UInt64) -> Value {
    Value.decodeAtomicRepresentation(Value.AtomicRepresentation(code: code))
  }

  /// Shows a value in a trace. Decodes only types that are known to own nothing.
  private static func describe(code: UInt64) -> String {
    switch Value.self {
    case is any BinaryInteger.Type, is any FloatingPoint.Type, is Bool.Type, is Duration.Type:
      return "\(value(code))"
    case is any RawRepresentable.Type where Value.AtomicRepresentation.self != AtomicAddress.self:
      return "\(value(code))"
    default:
      if let pair = value(code, as: WordPair.self) { return "(\(pair.first), \(pair.second))" }
      return Value.AtomicRepresentation.describe(code: code)
    }
  }

  private static func value<Known>(_ code: UInt64, as known: Known.Type) -> Known? {
    Value.self == known ? value(code) as? Known : nil
  }
}

extension Atomic: Sendable where Value: Sendable {}

extension Atomic {
  /// Loads a value that the memory model allows.
  public borrowing func load(
    ordering: AtomicLoadOrdering, file: StaticString = #fileID, line: UInt = #line
  ) -> Value {
    Self.value(word.load(ordering.order, Site(file: file, line: line)))
  }

  /// Stores `desired`.
  public borrowing func store(
    _ desired: consuming Value, ordering: AtomicStoreOrdering,
    file: StaticString = #fileID, line: UInt = #line
  ) {
    let site = Site(file: file, line: line)
    StandInWord.prepare(site)
    word.store(Self.code(desired), ordering.order, site)
  }

  /// Stores `desired`, and returns the value before.
  public borrowing func exchange(
    _ desired: consuming Value, ordering: AtomicUpdateOrdering,
    file: StaticString = #fileID, line: UInt = #line
  ) -> Value {
    let site = Site(file: file, line: line)
    StandInWord.prepare(site)
    let code = Self.code(desired)
    return Self.value(word.modify(ordering.order, site, "exchange", operand: code) { _ in code })
  }

  /// Stores `desired` if the value is `expected`. Returns whether it did so, and the value found.
  public borrowing func compareExchange(
    expected: consuming Value, desired: consuming Value, ordering: AtomicUpdateOrdering,
    file: StaticString = #fileID, line: UInt = #line
  ) -> (exchanged: Bool, original: Value) {
    compareExchange(
      expected, desired, ordering, failure: nil, isWeak: false, Site(file: file, line: line))
  }

  /// Stores `desired` if the value is `expected`. Returns whether it did so, and the value found.
  public borrowing func compareExchange(
    expected: consuming Value, desired: consuming Value, successOrdering: AtomicUpdateOrdering,
    failureOrdering: AtomicLoadOrdering, file: StaticString = #fileID, line: UInt = #line
  ) -> (exchanged: Bool, original: Value) {
    compareExchange(
      expected, desired, successOrdering, failure: failureOrdering, isWeak: false,
      Site(file: file, line: line))
  }

  /// The same as `compareExchange`, but it may fail although the value is `expected`.
  public borrowing func weakCompareExchange(
    expected: consuming Value, desired: consuming Value, ordering: AtomicUpdateOrdering,
    file: StaticString = #fileID, line: UInt = #line
  ) -> (exchanged: Bool, original: Value) {
    compareExchange(
      expected, desired, ordering, failure: nil, isWeak: true, Site(file: file, line: line))
  }

  /// The same as `compareExchange`, but it may fail although the value is `expected`.
  public borrowing func weakCompareExchange(
    expected: consuming Value, desired: consuming Value, successOrdering: AtomicUpdateOrdering,
    failureOrdering: AtomicLoadOrdering, file: StaticString = #fileID, line: UInt = #line
  ) -> (exchanged: Bool, original: Value) {
    compareExchange(
      expected, desired, successOrdering, failure: failureOrdering, isWeak: true,
      Site(file: file, line: line))
  }

  private borrowing func compareExchange(
    _ expected: consuming Value, _ desired: consuming Value, _ ordering: AtomicUpdateOrdering,
    failure: AtomicLoadOrdering?, isWeak: Bool, _ site: Site
  ) -> (exchanged: Bool, original: Value) {
    StandInWord.prepare(site)
    let (exchanged, code) = word.compareExchange(
      Self.code(expected), Self.code(desired), ordering.order, failure: failure?.order,
      isWeak: isWeak, site)
    return (exchanged, Self.value(code))
  }
}

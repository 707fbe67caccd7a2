internal import Interleave

/// Plain memory that threads share, such as the slots of a ring. Two accesses to one element that
/// are not ordered, one of them a write, are a data race, and the checker reports it.
///
/// The checker does not see ordinary variables. It runs the threads of a scenario one at a time, so
/// such a variable always has its newest value, and a missing ordering does not show. Plain memory
/// that an atomic publishes must therefore be of this type. `Synchronization` has no such type. A
/// target that imports it needs one of this name with the same subscript over ordinary memory:
///
/// ```swift
/// final class PlainArray<Element: Sendable>: @unchecked Sendable {
///   private let memory: UnsafeMutableBufferPointer<Element>
///
///   init(repeating value: Element, count: Int) {
///     memory = .allocate(capacity: count)
///     memory.initialize(repeating: value)
///   }
///   deinit { memory.deinitialize().deallocate() }
///
///   var count: Int { memory.count }
///   subscript(index: Int) -> Element {
///     get { memory[index] }
///     set { memory[index] = newValue }
///   }
/// }
/// ```
///
/// Create it in the closure that sets up a scenario.
///
/// - Thread safety: that is what the checker checks.
public final class PlainArray<Element: Sendable>: @unchecked Sendable {
  // All threads of a scenario are fibres of one OS thread, and `elements` is not accessed across a
  // step. So there is no race between OS threads, and a race in the model is reported.
  private var elements: [Element]
  private let cells: StandInCells

  /// Makes an array of `count` elements that are all `value`.
  ///
  /// - Complexity: O(`count`).
  public init(
    repeating value: Element, count: Int, file: StaticString = #fileID, line: UInt = #line
  ) {
    elements = Array(repeating: value, count: count)
    cells = StandInCells(
      count, "a PlainArray<\(Element.self)>, \(value)", Site(file: file, line: line),
      initially: Self.code(value) ?? 0)
  }

  /// The number of elements.
  public var count: Int { elements.count }

  /// The element at `index`. An index that does not exist ends the execution with a trap.
  public subscript(
    index: Int, file: StaticString = #fileID, line: UInt = #line
  ) -> Element {
    get {
      let element = elements[index]
      cells.read(index, Site(file: file, line: line)) { "\(element)" }
      return element
    }
    set {
      precondition(elements.indices.contains(index), "index out of range")
      cells.write(index, Self.code(newValue), Site(file: file, line: line)) { "\(newValue)" }
      elements[index] = newValue
    }
  }

  /// A word that stands for the element. Only integers have one. Equal words of equal integers let
  /// the checker find out that two states are equal.
  private static func code(_ element: Element) -> UInt64? {
    guard let integer = element as? any FixedWidthInteger, integer.bitWidth <= 64 else {
      return nil
    }
    return UInt64(truncatingIfNeeded: integer)
  }
}

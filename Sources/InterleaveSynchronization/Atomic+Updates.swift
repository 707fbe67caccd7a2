internal import Interleave

// Read-modify-writes. Each is one step, and returns the value before and after.

extension Atomic where Value: FixedWidthInteger {
  /// Adds, and wraps around at the ends of the type.
  @discardableResult
  public borrowing func wrappingAdd(
    _ operand: Value, ordering: AtomicUpdateOrdering,
    file: StaticString = #fileID, line: UInt = #line
  ) -> (oldValue: Value, newValue: Value) {
    update(ordering, Site(file: file, line: line), "wrappingAdd", operand) { $0 &+ operand }
  }

  /// Subtracts, and wraps around at the ends of the type.
  @discardableResult
  public borrowing func wrappingSubtract(
    _ operand: Value, ordering: AtomicUpdateOrdering,
    file: StaticString = #fileID, line: UInt = #line
  ) -> (oldValue: Value, newValue: Value) {
    update(ordering, Site(file: file, line: line), "wrappingSubtract", operand) { $0 &- operand }
  }

  /// Keeps the bits that are set in `operand` too.
  @discardableResult
  public borrowing func bitwiseAnd(
    _ operand: Value, ordering: AtomicUpdateOrdering,
    file: StaticString = #fileID, line: UInt = #line
  ) -> (oldValue: Value, newValue: Value) {
    update(ordering, Site(file: file, line: line), "bitwiseAnd", operand) { $0 & operand }
  }

  /// Sets the bits that are set in `operand`.
  @discardableResult
  public borrowing func bitwiseOr(
    _ operand: Value, ordering: AtomicUpdateOrdering,
    file: StaticString = #fileID, line: UInt = #line
  ) -> (oldValue: Value, newValue: Value) {
    update(ordering, Site(file: file, line: line), "bitwiseOr", operand) { $0 | operand }
  }

  /// Inverts the bits that are set in `operand`.
  @discardableResult
  public borrowing func bitwiseXor(
    _ operand: Value, ordering: AtomicUpdateOrdering,
    file: StaticString = #fileID, line: UInt = #line
  ) -> (oldValue: Value, newValue: Value) {
    update(ordering, Site(file: file, line: line), "bitwiseXor", operand) { $0 ^ operand }
  }

  /// Stores `operand` if it is less.
  @discardableResult
  public borrowing func min(
    _ operand: Value, ordering: AtomicUpdateOrdering,
    file: StaticString = #fileID, line: UInt = #line
  ) -> (oldValue: Value, newValue: Value) {
    update(ordering, Site(file: file, line: line), "min", operand) { Swift.min($0, operand) }
  }

  /// Stores `operand` if it is greater.
  @discardableResult
  public borrowing func max(
    _ operand: Value, ordering: AtomicUpdateOrdering,
    file: StaticString = #fileID, line: UInt = #line
  ) -> (oldValue: Value, newValue: Value) {
    update(ordering, Site(file: file, line: line), "max", operand) { Swift.max($0, operand) }
  }

  /// Adds, and fails the execution on an overflow. The original loads a value before, with no
  /// ordering, so the execution also fails if the thread may still read an old value that
  /// overflows.
  @discardableResult
  public borrowing func add(
    _ operand: Value, ordering: AtomicUpdateOrdering,
    file: StaticString = #fileID, line: UInt = #line
  ) -> (oldValue: Value, newValue: Value) {
    update(ordering, Site(file: file, line: line), "add", operand, checksOverflow: true) {
      let (result, overflow) = $0.addingReportingOverflow(operand)
      return overflow ? nil : result
    }
  }

  /// Subtracts, and fails the execution on an overflow. The original loads a value before, with no
  /// ordering, so the execution also fails if the thread may still read an old value that
  /// overflows.
  @discardableResult
  public borrowing func subtract(
    _ operand: Value, ordering: AtomicUpdateOrdering,
    file: StaticString = #fileID, line: UInt = #line
  ) -> (oldValue: Value, newValue: Value) {
    update(ordering, Site(file: file, line: line), "subtract", operand, checksOverflow: true) {
      let (result, overflow) = $0.subtractingReportingOverflow(operand)
      return overflow ? nil : result
    }
  }
}

extension Atomic where Value == Bool {
  /// Stores the logical and with `operand`.
  @discardableResult
  public borrowing func logicalAnd(
    _ operand: Bool, ordering: AtomicUpdateOrdering,
    file: StaticString = #fileID, line: UInt = #line
  ) -> (oldValue: Bool, newValue: Bool) {
    update(ordering, Site(file: file, line: line), "logicalAnd", operand) { $0 && operand }
  }

  /// Stores the logical or with `operand`.
  @discardableResult
  public borrowing func logicalOr(
    _ operand: Bool, ordering: AtomicUpdateOrdering,
    file: StaticString = #fileID, line: UInt = #line
  ) -> (oldValue: Bool, newValue: Bool) {
    update(ordering, Site(file: file, line: line), "logicalOr", operand) { $0 || operand }
  }

  /// Stores the logical exclusive or with `operand`.
  @discardableResult
  public borrowing func logicalXor(
    _ operand: Bool, ordering: AtomicUpdateOrdering,
    file: StaticString = #fileID, line: UInt = #line
  ) -> (oldValue: Bool, newValue: Bool) {
    update(ordering, Site(file: file, line: line), "logicalXor", operand) { $0 != operand }
  }
}

extension Atomic {
  private borrowing func update(
    _ ordering: AtomicUpdateOrdering, _ site: Site, _ name: String, _ operand: Value,
    checksOverflow: Bool = false, _ transform: (Value) -> Value?
  ) -> (oldValue: Value, newValue: Value) {
    StandInWord.prepare(site)
    let old = word.modify(
      ordering.order, site, name, operand: Self.code(operand), checksOverflow: checksOverflow
    ) { transform(Self.value($0)).map { Self.code($0) } }
    let value = Self.value(old)
    return (value, transform(value) ?? value)
  }
}

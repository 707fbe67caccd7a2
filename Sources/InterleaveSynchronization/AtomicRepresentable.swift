/// A type whose values an `Atomic` can hold. The same protocol as in `Synchronization`.
public protocol AtomicRepresentable {
  /// What the atomic stores.
  associatedtype AtomicRepresentation: AtomicStorage

  /// Makes the representation of a value. Equal representations must mean equal values.
  static func encodeAtomicRepresentation(_ value: consuming Self) -> AtomicRepresentation
  /// Makes the value of a representation.
  static func decodeAtomicRepresentation(_ storage: consuming AtomicRepresentation) -> Self
}

/// A type that an `Atomic` can also hold as an optional. The same protocol as in `Synchronization`.
public protocol AtomicOptionalRepresentable: AtomicRepresentable {
  /// What the atomic of an optional stores.
  associatedtype AtomicOptionalRepresentation: AtomicStorage

  /// Makes the representation of an optional.
  static func encodeAtomicOptionalRepresentation(
    _ value: consuming Self?
  ) -> AtomicOptionalRepresentation
  /// Makes the optional of a representation.
  static func decodeAtomicOptionalRepresentation(
    _ representation: consuming AtomicOptionalRepresentation
  ) -> Self?
}

extension Optional: AtomicRepresentable where Wrapped: AtomicOptionalRepresentable {
  /// That of the optional.
  public typealias AtomicRepresentation = Wrapped.AtomicOptionalRepresentation

  /// Makes the representation of an optional.
  public static func encodeAtomicRepresentation(
    _ value: consuming Wrapped?
  ) -> AtomicRepresentation {
    Wrapped.encodeAtomicOptionalRepresentation(value)
  }
  /// Makes the optional of a representation.
  public static func decodeAtomicRepresentation(
    _ storage: consuming AtomicRepresentation
  ) -> Wrapped? {
    Wrapped.decodeAtomicOptionalRepresentation(storage)
  }
}

extension RawRepresentable where Self: AtomicRepresentable, RawValue: AtomicRepresentable {
  /// That of the raw value.
  public typealias AtomicRepresentation = RawValue.AtomicRepresentation

  /// Makes the representation of the raw value.
  public static func encodeAtomicRepresentation(
    _ value: consuming Self
  ) -> RawValue.AtomicRepresentation {
    RawValue.encodeAtomicRepresentation(value.rawValue)
  }
  /// Makes the value with the raw value of that representation.
  public static func decodeAtomicRepresentation(
    _ storage: consuming RawValue.AtomicRepresentation
  ) -> Self {
    Self(rawValue: RawValue.decodeAtomicRepresentation(storage))!
  }
}

extension RawRepresentable
where Self: AtomicOptionalRepresentable, RawValue: AtomicOptionalRepresentable {
  /// That of the optional raw value.
  public typealias AtomicOptionalRepresentation = RawValue.AtomicOptionalRepresentation

  /// Makes the representation of the raw value, or that of nil.
  public static func encodeAtomicOptionalRepresentation(
    _ value: consuming Self?
  ) -> RawValue.AtomicOptionalRepresentation {
    RawValue.encodeAtomicOptionalRepresentation(value?.rawValue)
  }
  /// Makes the value with the raw value of that representation, or nil.
  public static func decodeAtomicOptionalRepresentation(
    _ representation: consuming RawValue.AtomicOptionalRepresentation
  ) -> Self? {
    RawValue.decodeAtomicOptionalRepresentation(representation).flatMap { Self(rawValue: $0) }
  }
}

// Pointers, as values and as optionals.

extension UnsafePointer: @unsafe AtomicRepresentable where Pointee: ~Copyable {
  /// An address.
  public typealias AtomicRepresentation = AtomicAddress

  /// Makes the representation of a pointer.
  public static func encodeAtomicRepresentation(
    _ value: consuming Self
  ) -> AtomicRepresentation {
    AtomicAddress(UInt(bitPattern: value))
  }
  /// Makes the pointer of a representation.
  public static func decodeAtomicRepresentation(
    _ storage: consuming AtomicRepresentation
  ) -> Self {
    unsafe Self(bitPattern: storage.address)!
  }
}

extension UnsafePointer: @unsafe AtomicOptionalRepresentable where Pointee: ~Copyable {
  /// An address; 0 is nil.
  public typealias AtomicOptionalRepresentation = AtomicAddress

  /// Makes the representation of an optional pointer.
  public static func encodeAtomicOptionalRepresentation(
    _ value: consuming Self?
  ) -> AtomicOptionalRepresentation {
    AtomicAddress(UInt(bitPattern: value))
  }
  /// Makes the optional pointer of a representation.
  public static func decodeAtomicOptionalRepresentation(
    _ representation: consuming AtomicOptionalRepresentation
  ) -> Self? {
    unsafe Self(bitPattern: representation.address)
  }
}

extension UnsafeMutablePointer: @unsafe AtomicRepresentable where Pointee: ~Copyable {
  /// An address.
  public typealias AtomicRepresentation = AtomicAddress

  /// Makes the representation of a pointer.
  public static func encodeAtomicRepresentation(
    _ value: consuming Self
  ) -> AtomicRepresentation {
    AtomicAddress(UInt(bitPattern: value))
  }
  /// Makes the pointer of a representation.
  public static func decodeAtomicRepresentation(
    _ storage: consuming AtomicRepresentation
  ) -> Self {
    unsafe Self(bitPattern: storage.address)!
  }
}

extension UnsafeMutablePointer: @unsafe AtomicOptionalRepresentable where Pointee: ~Copyable {
  /// An address; 0 is nil.
  public typealias AtomicOptionalRepresentation = AtomicAddress

  /// Makes the representation of an optional pointer.
  public static func encodeAtomicOptionalRepresentation(
    _ value: consuming Self?
  ) -> AtomicOptionalRepresentation {
    AtomicAddress(UInt(bitPattern: value))
  }
  /// Makes the optional pointer of a representation.
  public static func decodeAtomicOptionalRepresentation(
    _ representation: consuming AtomicOptionalRepresentation
  ) -> Self? {
    unsafe Self(bitPattern: representation.address)
  }
}

extension UnsafeRawPointer: @unsafe AtomicRepresentable {
  /// An address.
  public typealias AtomicRepresentation = AtomicAddress

  /// Makes the representation of a pointer.
  public static func encodeAtomicRepresentation(
    _ value: consuming Self
  ) -> AtomicRepresentation {
    AtomicAddress(UInt(bitPattern: value))
  }
  /// Makes the pointer of a representation.
  public static func decodeAtomicRepresentation(
    _ storage: consuming AtomicRepresentation
  ) -> Self {
    unsafe Self(bitPattern: storage.address)!
  }
}

extension UnsafeRawPointer: @unsafe AtomicOptionalRepresentable {
  /// An address; 0 is nil.
  public typealias AtomicOptionalRepresentation = AtomicAddress

  /// Makes the representation of an optional pointer.
  public static func encodeAtomicOptionalRepresentation(
    _ value: consuming Self?
  ) -> AtomicOptionalRepresentation {
    AtomicAddress(UInt(bitPattern: value))
  }
  /// Makes the optional pointer of a representation.
  public static func decodeAtomicOptionalRepresentation(
    _ representation: consuming AtomicOptionalRepresentation
  ) -> Self? {
    unsafe Self(bitPattern: representation.address)
  }
}

extension UnsafeMutableRawPointer: @unsafe AtomicRepresentable {
  /// An address.
  public typealias AtomicRepresentation = AtomicAddress

  /// Makes the representation of a pointer.
  public static func encodeAtomicRepresentation(
    _ value: consuming Self
  ) -> AtomicRepresentation {
    AtomicAddress(UInt(bitPattern: value))
  }
  /// Makes the pointer of a representation.
  public static func decodeAtomicRepresentation(
    _ storage: consuming AtomicRepresentation
  ) -> Self {
    unsafe Self(bitPattern: storage.address)!
  }
}

extension UnsafeMutableRawPointer: @unsafe AtomicOptionalRepresentable {
  /// An address; 0 is nil.
  public typealias AtomicOptionalRepresentation = AtomicAddress

  /// Makes the representation of an optional pointer.
  public static func encodeAtomicOptionalRepresentation(
    _ value: consuming Self?
  ) -> AtomicOptionalRepresentation {
    AtomicAddress(UInt(bitPattern: value))
  }
  /// Makes the optional pointer of a representation.
  public static func decodeAtomicOptionalRepresentation(
    _ representation: consuming AtomicOptionalRepresentation
  ) -> Self? {
    unsafe Self(bitPattern: representation.address)
  }
}

extension OpaquePointer: @unsafe AtomicRepresentable {
  /// An address.
  public typealias AtomicRepresentation = AtomicAddress

  /// Makes the representation of a pointer.
  public static func encodeAtomicRepresentation(
    _ value: consuming Self
  ) -> AtomicRepresentation {
    AtomicAddress(UInt(bitPattern: value))
  }
  /// Makes the pointer of a representation.
  public static func decodeAtomicRepresentation(
    _ storage: consuming AtomicRepresentation
  ) -> Self {
    unsafe Self(bitPattern: storage.address)!
  }
}

extension OpaquePointer: @unsafe AtomicOptionalRepresentable {
  /// An address; 0 is nil.
  public typealias AtomicOptionalRepresentation = AtomicAddress

  /// Makes the representation of an optional pointer.
  public static func encodeAtomicOptionalRepresentation(
    _ value: consuming Self?
  ) -> AtomicOptionalRepresentation {
    AtomicAddress(UInt(bitPattern: value))
  }
  /// Makes the optional pointer of a representation.
  public static func decodeAtomicOptionalRepresentation(
    _ representation: consuming AtomicOptionalRepresentation
  ) -> Self? {
    unsafe Self(bitPattern: representation.address)
  }
}

extension Unmanaged: @unsafe AtomicRepresentable {
  /// An address.
  public typealias AtomicRepresentation = AtomicAddress

  /// Makes the representation of a pointer.
  public static func encodeAtomicRepresentation(
    _ value: consuming Self
  ) -> AtomicRepresentation {
    unsafe AtomicAddress(UInt(bitPattern: value.toOpaque()))
  }
  /// Makes the pointer of a representation.
  public static func decodeAtomicRepresentation(
    _ storage: consuming AtomicRepresentation
  ) -> Self {
    unsafe .fromOpaque(UnsafeRawPointer(bitPattern: storage.address)!)
  }
}

extension Unmanaged: @unsafe AtomicOptionalRepresentable {
  /// An address; 0 is nil.
  public typealias AtomicOptionalRepresentation = AtomicAddress

  /// Makes the representation of an optional pointer.
  public static func encodeAtomicOptionalRepresentation(
    _ value: consuming Self?
  ) -> AtomicOptionalRepresentation {
    unsafe AtomicAddress(UInt(bitPattern: value?.toOpaque()))
  }
  /// Makes the optional pointer of a representation.
  public static func decodeAtomicOptionalRepresentation(
    _ representation: consuming AtomicOptionalRepresentation
  ) -> Self? {
    unsafe UnsafeRawPointer(bitPattern: representation.address).map { unsafe .fromOpaque($0) }
  }
}

extension ObjectIdentifier: AtomicRepresentable {
  /// An address.
  public typealias AtomicRepresentation = AtomicAddress

  /// Makes the representation of an identifier.
  public static func encodeAtomicRepresentation(
    _ value: consuming ObjectIdentifier
  ) -> AtomicRepresentation {
    AtomicAddress(UInt(bitPattern: value))
  }
  /// Makes the identifier of a representation.
  public static func decodeAtomicRepresentation(
    _ storage: consuming AtomicRepresentation
  ) -> ObjectIdentifier {
    // SAFETY: an identifier is the address of its object.
    unsafe unsafeBitCast(storage.address, to: ObjectIdentifier.self)
  }
}

extension ObjectIdentifier: AtomicOptionalRepresentable {
  /// An address; 0 is nil.
  public typealias AtomicOptionalRepresentation = AtomicAddress

  /// Makes the representation of an optional identifier.
  public static func encodeAtomicOptionalRepresentation(
    _ value: consuming ObjectIdentifier?
  ) -> AtomicOptionalRepresentation {
    AtomicAddress(value.map { UInt(bitPattern: $0) } ?? 0)
  }
  /// Makes the optional identifier of a representation.
  public static func decodeAtomicOptionalRepresentation(
    _ representation: consuming AtomicOptionalRepresentation
  ) -> ObjectIdentifier? {
    // SAFETY: an identifier is the address of its object, and nil is address 0.
    unsafe unsafeBitCast(representation.address, to: ObjectIdentifier?.self)
  }
}

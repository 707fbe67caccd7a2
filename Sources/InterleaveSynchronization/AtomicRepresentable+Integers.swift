// The fixed-width integers. A signed and an unsigned one of the same size have the same
// representation.

extension UInt8: AtomicRepresentable {
  /// 8 bits.
  public typealias AtomicRepresentation = AtomicBits<UInt8>

  /// Makes the representation of an integer.
  public static func encodeAtomicRepresentation(_ value: consuming UInt8) -> AtomicRepresentation {
    AtomicRepresentation(UInt8(truncatingIfNeeded: value))
  }
  /// Makes the integer of a representation.
  public static func decodeAtomicRepresentation(
    _ storage: consuming AtomicRepresentation
  ) -> UInt8 {
    UInt8(truncatingIfNeeded: storage.bits)
  }
}

extension Int8: AtomicRepresentable {
  /// 8 bits.
  public typealias AtomicRepresentation = AtomicBits<UInt8>

  /// Makes the representation of an integer.
  public static func encodeAtomicRepresentation(_ value: consuming Int8) -> AtomicRepresentation {
    AtomicRepresentation(UInt8(truncatingIfNeeded: value))
  }
  /// Makes the integer of a representation.
  public static func decodeAtomicRepresentation(
    _ storage: consuming AtomicRepresentation
  ) -> Int8 {
    Int8(truncatingIfNeeded: storage.bits)
  }
}

extension UInt16: AtomicRepresentable {
  /// 16 bits.
  public typealias AtomicRepresentation = AtomicBits<UInt16>

  /// Makes the representation of an integer.
  public static func encodeAtomicRepresentation(_ value: consuming UInt16) -> AtomicRepresentation {
    AtomicRepresentation(UInt16(truncatingIfNeeded: value))
  }
  /// Makes the integer of a representation.
  public static func decodeAtomicRepresentation(
    _ storage: consuming AtomicRepresentation
  ) -> UInt16 {
    UInt16(truncatingIfNeeded: storage.bits)
  }
}

extension Int16: AtomicRepresentable {
  /// 16 bits.
  public typealias AtomicRepresentation = AtomicBits<UInt16>

  /// Makes the representation of an integer.
  public static func encodeAtomicRepresentation(_ value: consuming Int16) -> AtomicRepresentation {
    AtomicRepresentation(UInt16(truncatingIfNeeded: value))
  }
  /// Makes the integer of a representation.
  public static func decodeAtomicRepresentation(
    _ storage: consuming AtomicRepresentation
  ) -> Int16 {
    Int16(truncatingIfNeeded: storage.bits)
  }
}

extension UInt32: AtomicRepresentable {
  /// 32 bits.
  public typealias AtomicRepresentation = AtomicBits<UInt32>

  /// Makes the representation of an integer.
  public static func encodeAtomicRepresentation(_ value: consuming UInt32) -> AtomicRepresentation {
    AtomicRepresentation(UInt32(truncatingIfNeeded: value))
  }
  /// Makes the integer of a representation.
  public static func decodeAtomicRepresentation(
    _ storage: consuming AtomicRepresentation
  ) -> UInt32 {
    UInt32(truncatingIfNeeded: storage.bits)
  }
}

extension Int32: AtomicRepresentable {
  /// 32 bits.
  public typealias AtomicRepresentation = AtomicBits<UInt32>

  /// Makes the representation of an integer.
  public static func encodeAtomicRepresentation(_ value: consuming Int32) -> AtomicRepresentation {
    AtomicRepresentation(UInt32(truncatingIfNeeded: value))
  }
  /// Makes the integer of a representation.
  public static func decodeAtomicRepresentation(
    _ storage: consuming AtomicRepresentation
  ) -> Int32 {
    Int32(truncatingIfNeeded: storage.bits)
  }
}

extension UInt64: AtomicRepresentable {
  /// 64 bits.
  public typealias AtomicRepresentation = AtomicBits<UInt64>

  /// Makes the representation of an integer.
  public static func encodeAtomicRepresentation(_ value: consuming UInt64) -> AtomicRepresentation {
    AtomicRepresentation(UInt64(truncatingIfNeeded: value))
  }
  /// Makes the integer of a representation.
  public static func decodeAtomicRepresentation(
    _ storage: consuming AtomicRepresentation
  ) -> UInt64 {
    UInt64(truncatingIfNeeded: storage.bits)
  }
}

extension Int64: AtomicRepresentable {
  /// 64 bits.
  public typealias AtomicRepresentation = AtomicBits<UInt64>

  /// Makes the representation of an integer.
  public static func encodeAtomicRepresentation(_ value: consuming Int64) -> AtomicRepresentation {
    AtomicRepresentation(UInt64(truncatingIfNeeded: value))
  }
  /// Makes the integer of a representation.
  public static func decodeAtomicRepresentation(
    _ storage: consuming AtomicRepresentation
  ) -> Int64 {
    Int64(truncatingIfNeeded: storage.bits)
  }
}

extension UInt128: AtomicRepresentable {
  /// 128 bits.
  public typealias AtomicRepresentation = AtomicBits<UInt128>

  /// Makes the representation of an integer.
  public static func encodeAtomicRepresentation(_ value: consuming UInt128) -> AtomicRepresentation
  {
    AtomicRepresentation(UInt128(truncatingIfNeeded: value))
  }
  /// Makes the integer of a representation.
  public static func decodeAtomicRepresentation(
    _ storage: consuming AtomicRepresentation
  ) -> UInt128 {
    UInt128(truncatingIfNeeded: storage.bits)
  }
}

extension Int128: AtomicRepresentable {
  /// 128 bits.
  public typealias AtomicRepresentation = AtomicBits<UInt128>

  /// Makes the representation of an integer.
  public static func encodeAtomicRepresentation(_ value: consuming Int128) -> AtomicRepresentation {
    AtomicRepresentation(UInt128(truncatingIfNeeded: value))
  }
  /// Makes the integer of a representation.
  public static func decodeAtomicRepresentation(
    _ storage: consuming AtomicRepresentation
  ) -> Int128 {
    Int128(truncatingIfNeeded: storage.bits)
  }
}

extension UInt: AtomicRepresentable {
  /// 64 bits.
  public typealias AtomicRepresentation = AtomicBits<UInt64>

  /// Makes the representation of an integer.
  public static func encodeAtomicRepresentation(_ value: consuming UInt) -> AtomicRepresentation {
    AtomicRepresentation(UInt64(truncatingIfNeeded: value))
  }
  /// Makes the integer of a representation.
  public static func decodeAtomicRepresentation(
    _ storage: consuming AtomicRepresentation
  ) -> UInt {
    UInt(truncatingIfNeeded: storage.bits)
  }
}

extension Int: AtomicRepresentable {
  /// 64 bits.
  public typealias AtomicRepresentation = AtomicBits<UInt64>

  /// Makes the representation of an integer.
  public static func encodeAtomicRepresentation(_ value: consuming Int) -> AtomicRepresentation {
    AtomicRepresentation(UInt64(truncatingIfNeeded: value))
  }
  /// Makes the integer of a representation.
  public static func decodeAtomicRepresentation(
    _ storage: consuming AtomicRepresentation
  ) -> Int {
    Int(truncatingIfNeeded: storage.bits)
  }
}

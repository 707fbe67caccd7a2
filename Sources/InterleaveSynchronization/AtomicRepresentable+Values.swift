// Other types of the standard library that are represented by integers.

extension Bool: AtomicRepresentable {
  /// 8 bits.
  public typealias AtomicRepresentation = AtomicBits<UInt8>

  /// Makes the representation of a value.
  public static func encodeAtomicRepresentation(_ value: consuming Bool) -> AtomicRepresentation {
    AtomicRepresentation(value ? 1 : 0)
  }
  /// Makes the value of a representation.
  public static func decodeAtomicRepresentation(
    _ storage: consuming AtomicRepresentation
  ) -> Bool {
    storage.bits != 0
  }
}

extension Float16: AtomicRepresentable {
  /// 16 bits.
  public typealias AtomicRepresentation = AtomicBits<UInt16>

  /// Makes the representation of a value.
  public static func encodeAtomicRepresentation(_ value: consuming Float16) -> AtomicRepresentation
  {
    AtomicRepresentation(value.bitPattern)
  }
  /// Makes the value of a representation.
  public static func decodeAtomicRepresentation(
    _ storage: consuming AtomicRepresentation
  ) -> Float16 {
    Float16(bitPattern: storage.bits)
  }
}

extension Float: AtomicRepresentable {
  /// 32 bits.
  public typealias AtomicRepresentation = AtomicBits<UInt32>

  /// Makes the representation of a value.
  public static func encodeAtomicRepresentation(_ value: consuming Float) -> AtomicRepresentation {
    AtomicRepresentation(value.bitPattern)
  }
  /// Makes the value of a representation.
  public static func decodeAtomicRepresentation(
    _ storage: consuming AtomicRepresentation
  ) -> Float {
    Float(bitPattern: storage.bits)
  }
}

extension Double: AtomicRepresentable {
  /// 64 bits.
  public typealias AtomicRepresentation = AtomicBits<UInt64>

  /// Makes the representation of a value.
  public static func encodeAtomicRepresentation(_ value: consuming Double) -> AtomicRepresentation {
    AtomicRepresentation(value.bitPattern)
  }
  /// Makes the value of a representation.
  public static func decodeAtomicRepresentation(
    _ storage: consuming AtomicRepresentation
  ) -> Double {
    Double(bitPattern: storage.bits)
  }
}

extension Duration: AtomicRepresentable {
  /// 128 bits.
  public typealias AtomicRepresentation = AtomicBits<UInt128>

  /// Makes the representation of a value.
  public static func encodeAtomicRepresentation(_ value: consuming Duration) -> AtomicRepresentation
  {
    AtomicRepresentation(UInt128(truncatingIfNeeded: value.attoseconds))
  }
  /// Makes the value of a representation.
  public static func decodeAtomicRepresentation(
    _ storage: consuming AtomicRepresentation
  ) -> Duration {
    Duration(attoseconds: Int128(truncatingIfNeeded: storage.bits))
  }
}

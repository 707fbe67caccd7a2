internal import Interleave

/// A representation of a value in an atomic. The checker's words have 64 bits, so a representation
/// has a code of 64 bits. Two representations of one type have the same code if and only if they
/// are equal. Only the types of this module conform.
public protocol AtomicStorage: BitwiseCopyable, Sendable {
  /// The representation with this code.
  init(code: UInt64)
  /// The code. Valid in one execution of a scenario.
  func code() -> UInt64
  /// Shows a code in a trace.
  static func describe(code: UInt64) -> String
}

/// An integer of 8 to 128 bits. The code of one with 128 bits is its number in a table of all those
/// that the exploration has seen.
public struct AtomicBits<Bits: FixedWidthInteger & UnsignedInteger & BitwiseCopyable & Sendable>:
  AtomicStorage
{
  let bits: Bits

  init(_ bits: Bits) { self.bits = bits }

  private static var isWide: Bool { Bits.bitWidth > UInt64.bitWidth }

  /// The integer with this code.
  public init(code: UInt64) {
    bits = Bits(truncatingIfNeeded: Self.isWide ? StandIn.wide(code) : UInt128(code))
  }

  /// The code of the integer.
  public func code() -> UInt64 {
    Self.isWide ? StandIn.code(ofWide: UInt128(bits)) : UInt64(truncatingIfNeeded: bits)
  }

  /// Shows a small integer in decimal and a large one in hexadecimal digits.
  public static func describe(code: UInt64) -> String {
    let bits = Self(code: code).bits
    return bits < 256 || bits < 1 << 20 ? "\(bits)" : "0x\(String(bits, radix: 16))"
  }
}

/// An address in memory. Addresses differ from run to run, so its code says which thread was the
/// first to pass it to an atomic, and after how many others.
public struct AtomicAddress: AtomicStorage {
  let address: UInt

  init(_ address: UInt) { self.address = address }

  /// The address with this code.
  public init(code: UInt64) { address = StandIn.address(code) }

  /// The code of the address.
  public func code() -> UInt64 { StandIn.code(ofAddress: address) }

  /// Shows the code, such as `@writer1` for the first address that `writer` passed.
  public static func describe(code: UInt64) -> String { StandIn.describe(address: code) }
}

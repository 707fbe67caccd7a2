// Reads and writes big-endian numbers in the messages of the handshake, where convenience counts
// more than speed. The transmission phase has fixed layouts, in Request.swift and Reply.swift.

extension [UInt8] {
  mutating func append<Number: FixedWidthInteger>(number: Number) {
    for shift in stride(from: Number.bitWidth - 8, through: 0, by: -8) {
      append(UInt8(truncatingIfNeeded: number >> Number(shift)))
    }
  }
}

extension ArraySlice<UInt8> {
  /// Removes a number from the front. Returns nil and removes nothing if there are too few bytes.
  mutating func takeNumber<Number: FixedWidthInteger>(_: Number.Type = Number.self) -> Number? {
    guard count >= Number.bitWidth / 8 else { return nil }
    var number: Number = 0
    for byte in prefix(Number.bitWidth / 8) { number = number << 8 | Number(byte) }
    removeFirst(Number.bitWidth / 8)
    return number
  }

  /// Removes a length of 32 bits and that many bytes of UTF-8 from the front. Returns nil if the
  /// front is no such string.
  mutating func takeString() -> String? {
    guard let length: UInt32 = takeNumber(), length <= Limits.string, length <= count else {
      return nil
    }
    defer { removeFirst(Int(length)) }
    return String(validating: prefix(Int(length)), as: UTF8.self)
  }
}

import CLinux

/// A number below 2^48 with a checksum in the low 16 bits, so that one store changes both. 0 is 0.
enum Sealed {
  static func word(_ number: UInt64) -> UInt64 {
    guard number > 0 else { return 0 }
    var value = number
    return number << 16 | UInt64(unsafe hm_crc32c(0, &value, 8)) & 0xffff
  }

  /// Nil if the word is damaged.
  static func number(_ word: UInt64) -> UInt64? { Self.word(word >> 16) == word ? word >> 16 : nil }
}

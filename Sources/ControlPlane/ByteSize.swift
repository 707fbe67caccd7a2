/// A number of bytes, read and printed with binary units: `1T`, `64 KiB`, `512`.
public struct ByteSize: Sendable, Equatable, CustomStringConvertible {
  public var bytes: UInt64
  public init(_ bytes: UInt64) { self.bytes = bytes }

  private static let units = ["", "K", "M", "G", "T", "P"]

  /// Accepts a whole or decimal number and a unit, all binary: `4096`, `10G`, `1.5 GiB`, `64kb`.
  /// Nil if the text is none of these, or not a whole number of bytes below 2^63.
  public init?(_ text: String) {
    var rest = text.trimmingSpaces()[...]
    let digits = rest.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
    rest.removeFirst(digits.count)
    var unit = rest.drop { $0 == " " }.uppercased()
    if unit.hasSuffix("IB") { unit.removeLast(2) } else if unit.hasSuffix("B") { unit.removeLast() }
    guard let power = Self.units.firstIndex(of: unit) else { return nil }
    let factor = UInt64(1) << UInt64(10 * power)
    let parts = digits.split(separator: ".", omittingEmptySubsequences: false)
    if parts.count == 1, let whole = UInt64(digits) {
      let (bytes, overflow) = whole.multipliedReportingOverflow(by: factor)
      guard !overflow, bytes < 1 << 63 else { return nil }
      self.bytes = bytes
    } else if parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty, let number = Double(digits) {
      let bytes = number * Double(factor)
      guard bytes < 0x1p63, bytes == bytes.rounded() else { return nil }
      self.bytes = UInt64(bytes)
    } else {
      return nil
    }
  }

  /// About three digits, in the largest unit that fits: `64 KiB`, `1.25 GiB`.
  public var description: String {
    var power = 0
    while power + 1 < Self.units.count, bytes >> UInt64(10 * (power + 1)) > 0 { power += 1 }
    guard power > 0 else { return "\(bytes) B" }
    let unit = UInt64(1) << UInt64(10 * power)
    var hundredths = Int(((bytes % unit) * 100) >> UInt64(10 * power))
    let whole = bytes / unit
    if whole >= 100 { hundredths = 0 } else if whole >= 10 { hundredths -= hundredths % 10 }
    var fraction = ""
    if hundredths > 0 {
      fraction = hundredths < 10 ? ".0\(hundredths)" : ".\(hundredths)"
      if fraction.hasSuffix("0") { fraction.removeLast() }
    }
    return "\(whole)\(fraction) \(Self.units[power])iB"
  }
}

extension String {
  fileprivate func trimmingSpaces() -> Substring {
    var rest = self[...]
    while rest.first == " " { rest.removeFirst() }
    while rest.last == " " { rest.removeLast() }
    return rest
  }
}

/// The contents of one of the kernel's files. It is parsed without making strings, since a server
/// asks often how much memory is available.
struct TextFile: Sendable {
  private let bytes: ArraySlice<UInt8>

  init(_ bytes: ArraySlice<UInt8>) { self.bytes = bytes }

  /// All of the text, for files that are read once.
  var text: String { String(decoding: bytes, as: UTF8.self) }

  /// The start of the first line, for messages.
  var start: String {
    let line = bytes.prefix { $0 != UInt8(ascii: "\n") }.prefix(40)
    return String(decoding: line, as: UTF8.self)
  }

  /// The number, if the file consists of one; otherwise nil.
  var number: UInt64? {
    let (number, rest) = Self.number(in: bytes)
    return rest.allSatisfy { $0 == UInt8(ascii: "\n") } ? number : nil
  }

  var isWordMax: Bool { bytes.elementsEqual("max\n".utf8) || bytes.elementsEqual("max".utf8) }

  /// The number that follows a name at the start of a line: `name 12`, or `Name:  12 kB`.
  /// - Complexity: linear in the size of the file.
  func number(after name: String) -> UInt64? {
    var rest = bytes
    while !rest.isEmpty {
      if rest.starts(with: name.utf8) {
        let value = rest.dropFirst(name.utf8.count)
        let digits = value.drop { $0 == UInt8(ascii: " ") }
        // Otherwise the line has a longer name that starts with this one.
        if digits.startIndex > value.startIndex { return Self.number(in: digits).0 }
      }
      rest = rest.drop { $0 != UInt8(ascii: "\n") }.dropFirst()
    }
    return nil
  }

  private static func number(
    in bytes: ArraySlice<UInt8>
  ) -> (UInt64?, rest: ArraySlice<UInt8>) {
    let digits = bytes.prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
    guard !digits.isEmpty else { return (nil, bytes) }
    var value: UInt64 = 0
    for digit in digits {
      let (tens, overflow) = value.multipliedReportingOverflow(by: 10)
      let (sum, carry) = tens.addingReportingOverflow(UInt64(digit - UInt8(ascii: "0")))
      if overflow || carry { return (nil, bytes) }
      value = sum
    }
    return (value, bytes.dropFirst(digits.count))
  }
}

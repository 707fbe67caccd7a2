import FoundationEssentials

/// Makes text from a client fit for a log: one line, no control characters, short.
package enum LogText {
  /// The most Unicode scalars of a value that are shown.
  static let limit = 200

  /// `key=value`, with quotes around the value if it has spaces or quotes.
  static func pair(_ key: String, _ value: String) -> String {
    let text = escaped(value)
    let isPlain =
      !text.isEmpty && !text.unicodeScalars.contains { " \"=".unicodeScalars.contains($0) }
    return isPlain ? "\(key)=\(text)" : "\(key)=\"\(text)\""
  }

  /// Puts a backslash before quotes and backslashes, and writes every character that could move a
  /// terminal's cursor, end the line or reorder the text after it as `\u{…}`. Cuts text beyond the
  /// limit, and adds the size of the whole text.
  static func escaped(_ text: String) -> String {
    var result = ""
    for (index, scalar) in text.unicodeScalars.enumerated() {
      if index == limit { return result + "…(\(text.utf8.count) bytes)" }
      if scalar == "\"" || scalar == "\\" {
        result += "\\\(scalar)"
      } else {
        result += shown(scalar)
      }
    }
    return result
  }

  /// At most `limit` scalars of a text, and the size of the whole text if that is cut.
  static func short(_ text: String) -> String {
    let scalars = text.unicodeScalars
    guard scalars.count > limit else { return text }
    return String(String.UnicodeScalarView(scalars.prefix(limit))) + "…(\(text.utf8.count) bytes)"
  }

  /// The whole text, with characters escaped that are not harmless.
  package static func printable(_ text: String) -> String {
    guard !text.unicodeScalars.allSatisfy(isHarmless) else { return text }
    return text.unicodeScalars.reduce(into: "") { $0 += shown($1) }
  }

  private static func shown(_ scalar: Unicode.Scalar) -> String {
    isHarmless(scalar) ? String(Character(scalar)) : "\\u{\(String(scalar.value, radix: 16))}"
  }

  private static func isHarmless(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse,
      .unassigned:
      false
    default: true
    }
  }

  /// The current time in UTC, in the format of RFC 3339.
  static func timestamp() -> String { Date().formatted(.iso8601) }
}

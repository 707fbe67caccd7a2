import FoundationEssentials

/// How a line of the log looks.
public enum LogFormat: String, CaseIterable, Sendable {
  /// `time level hugemem: message key=value`, for people.
  case text
  /// `time=… level=… msg=… key=value`.
  case logfmt
  /// An object in each line: `time`, `level`, `message`, and the keys. All values are strings.
  case json

  /// One line, without its end. `pairs` are in the order in which they are shown.
  func line(_ level: String, _ message: String, _ pairs: [(key: String, value: String)]) -> String {
    let time = LogText.timestamp()
    switch self {
    case .text:
      let text = pairs.map { LogText.pair($0.key, $0.value) }
      return ([time, level, "hugemem:", LogText.escaped(message)] + text).joined(separator: " ")
    case .logfmt:
      return ([("time", time), ("level", level), ("msg", message)] + pairs)
        .map { LogText.pair($0.0, $0.1) }.joined(separator: " ")
    case .json:
      // Characters that are not harmless are escaped for terminals as well.
      var fields = [("time", time), ("level", level), ("message", message)]
      fields += pairs.map { ($0.key, LogText.printable(LogText.short($0.value))) }
      return "{" + fields.map { "\(Self.quoted($0.0)):\(Self.quoted($0.1))" }.joined(separator: ",")
        + "}"
    }
  }

  private static func quoted(_ text: String) -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = .withoutEscapingSlashes
    // SAFETY of `try!`: every string can be encoded.
    return String(decoding: try! encoder.encode(text), as: UTF8.self)
  }
}

/// One execution as a short string. Each step has a character that names its thread. Each load with
/// several possible values has one more, which gives the age of the value. After the last character
/// the running thread goes on, and loads return the newest values.
public struct ReplayToken: Hashable, Sendable, CustomStringConvertible {
  let choices: [UInt8]

  private static let alphabet = Array(
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_".utf8)

  init(choices: [UInt8]) { self.choices = choices }

  /// Parses a token that a report printed. Returns nil if the string contains any other character.
  public init?(_ string: String) {
    var choices: [UInt8] = []
    for character in string.utf8 {
      guard let choice = Self.alphabet.firstIndex(of: character) else { return nil }
      choices.append(UInt8(choice))
    }
    self.choices = choices
  }

  public var description: String {
    String(decoding: choices.map { Self.alphabet[Int($0)] }, as: UTF8.self)
  }
}

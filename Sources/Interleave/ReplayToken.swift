/// One execution as a short string: a character for each step, the thread that took it, and one
/// for each load that had several values, how old the value was. After the last character the
/// running thread goes on, with the newest values.
public struct ReplayToken: Hashable, Sendable, CustomStringConvertible {
  let choices: [UInt8]

  private static let alphabet = Array(
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_".utf8)

  init(choices: [UInt8]) { self.choices = choices }

  /// Nil if the string is not one that a report printed.
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

import ArgumentParser
import ControlPlane
import FoundationEssentials
import TOMLKit

/// A file with options of `serve`, in TOML. Each key is an option without its dashes. What the command
/// line says counts instead, but options that can be repeated add up.
enum ConfigFile {
  /// In bytes.
  static let longest = 1 << 20

  /// Replaces `--config FILE` of `serve` by the options in the file.
  static func expand(_ arguments: [String]) throws -> [String] {
    guard arguments.first == "serve" else { return arguments }
    var rest = Array(arguments.dropFirst())
    guard let at = rest.firstIndex(where: { $0 == "--config" || $0.hasPrefix("--config=") }) else {
      return arguments
    }
    let path: String
    if rest[at] == "--config" {
      guard at + 1 < rest.count else { throw ControlError("--config: name a file") }
      path = rest[at + 1]
      rest.removeSubrange(at...at + 1)
    } else {
      path = String(rest[at].dropFirst("--config=".count))
      rest.remove(at: at)
    }
    guard !rest.contains(where: { $0 == "--config" || $0.hasPrefix("--config=") }) else {
      throw ControlError("--config: name one file")
    }
    return try ["serve"] + options(in: path) + rest
  }

  /// The options of a file, as arguments.
  private static func options(in path: String) throws -> [String] {
    let text = String(decoding: try SmallFile.read(path, atMost: longest), as: UTF8.self)
    let table: TOMLTable
    do { table = try TOMLTable(string: text) } catch let error as TOMLParseError {
      let at = error.source.begin
      throw ControlError("\(path): line \(at.line), column \(at.column): \(error.description)")
    }
    let known = try Option.all()
    var arguments: [String] = []
    for key in table.keys.sorted() {
      guard let option = known[key] else {
        throw ControlError(
          "\(path): there is no option \"\(key)\"; the options: "
            + known.keys.sorted().joined(separator: ", "))
      }
      guard let value = table[key] else { continue }
      arguments += try option.arguments(value, "\(path): \(key)")
    }
    return arguments
  }

  /// An option of `serve`, as Argument Parser describes it.
  private struct Option: Decodable {
    enum Kind: String, Decodable { case positional, option, flag }
    struct Name: Decodable { let name: String }
    let kind: Kind
    let isRepeating: Bool
    let preferredName: Name?

    static func all() throws -> [String: Option] {
      struct Tool: Decodable { let command: Command }
      struct Command: Decodable { let arguments: [Option] }
      let tool = try JSONDecoder().decode(Tool.self, from: Data(Serve._dumpHelp().utf8))
      let own = ["help", "version", "config", "check"]
      let named = tool.command.arguments.compactMap { option in
        option.preferredName.map { ($0.name, option) }
      }
      return Dictionary(named.filter { !own.contains($0.0) }) { first, _ in first }
    }

    /// `place` is for messages.
    func arguments(_ value: any TOMLValueConvertible, _ place: String) throws -> [String] {
      let flag = "--\(preferredName?.name ?? "")"
      if kind == .flag {
        guard let isOn = value.bool else { throw ControlError("\(place): write true or false") }
        return isOn ? [flag] : []
      }
      if let array = value.array {
        guard isRepeating else { throw ControlError("\(place): takes one value") }
        return try array.flatMap { ["\(flag)=\(try Self.text($0, place))"] }
      }
      return ["\(flag)=\(try Self.text(value, place))"]
    }

    private static func text(
      _ value: any TOMLValueConvertible, _ place: String
    ) throws -> String {
      if let text = value.string { return text }
      if let number = value.int { return String(number) }
      throw ControlError("\(place): write text or a number")
    }
  }
}

/// The text of a rule file.
///
///     # who          disks           may
///     cert:ci-*      golden          read,fork
///     cert:*         job-$name       write
///     uid:1000       *               all
///     *              *               none
///     limit cert:*   connections=20 forks=10 memory=4G requests=8
public enum RuleFile {
  /// In bytes.
  public static let longest = 1 << 20
  static let mostLines = 10_000

  /// What is wrong with a line.
  public struct Fault: Error, Sendable, Equatable, CustomStringConvertible {
    public let line: Int
    public let reason: String
    public var description: String { "line \(line): \(reason)" }
  }

  /// Returns the rules, or every fault in the text.
  public static func parse(_ bytes: some Collection<UInt8>) -> Result<Rules, Faults> {
    guard bytes.count <= longest, let text = String(validating: bytes, as: UTF8.self) else {
      return .failure(Faults([Fault(line: 1, reason: "the file must be UTF-8 of at most 1 MiB")]))
    }
    var rules = Rules()
    var faults: [Fault] = []
    for (index, line) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
      .enumerated()
    {
      guard index < mostLines else {
        faults.append(Fault(line: index + 1, reason: "a file has at most \(mostLines) lines"))
        break
      }
      let words = line.prefix { $0 != "#" }.split { $0 == " " || $0 == "\t" }
      if words.isEmpty { continue }
      do throws(Fault) {
        if words[0] == "limit" {
          rules.limits.append(try limit(words, index + 1))
        } else {
          rules.rules.append(try rule(words, index + 1))
        }
      } catch {
        if faults.count < 100 { faults.append(error) }
      }
    }
    return faults.isEmpty ? .success(rules) : .failure(Faults(faults))
  }

  private static func rule(_ words: [Substring], _ line: Int) throws(Fault) -> Rules.Rule {
    guard words.count == 3 else {
      throw Fault(
        line: line, reason: "write CLIENT DISKS RIGHTS, for example: cert:alice job-* write")
    }
    guard let rights = Rights(names: words[2]) else {
      throw Fault(
        line: line,
        reason:
          "rights \"\(words[2])\": use read, write, fork with commas between them, all, or none")
    }
    try checkDollars(words[1], line)
    return Rules.Rule(
      line: line, client: try client(words[0], line), disks: String(words[1]), rights: rights)
  }

  private static func limit(_ words: [Substring], _ line: Int) throws(Fault) -> Rules.Limit {
    guard words.count >= 3 else {
      throw Fault(
        line: line, reason: "write limit CLIENT NAME=VALUE, for example: limit * forks=10")
    }
    var allowance = Rules.Allowance()
    for word in words[2...] {
      let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard parts.count == 2, let value = number(parts[1], isSize: parts[0] == "memory") else {
        throw Fault(
          line: line, reason: "limit \"\(word)\": write a name, = and a number, as in forks=10")
      }
      switch parts[0] {
      case "connections": allowance.connections = Int(clamping: value)
      case "forks": allowance.forks = Int(clamping: value)
      case "memory": allowance.memory = value
      case "requests" where value > 0: allowance.requests = Int(clamping: value)
      case "requests": throw Fault(line: line, reason: "limit requests: must be 1 or more")
      default:
        throw Fault(
          line: line,
          reason: "limit \"\(parts[0])\": use connections, forks, memory or requests")
      }
    }
    return Rules.Limit(line: line, client: try client(words[1], line), allowance: allowance)
  }

  private static func client(_ text: Substring, _ line: Int) throws(Fault) -> Glob {
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    let isKnown =
      switch (parts[0], parts.count > 1 ? parts[1] : nil) {
      case ("anonymous", nil), ("*", nil): true
      case ("cert", let name?), ("psk", let name?): !name.isEmpty
      // A number, or a pattern of one.
      case ("uid", let number?):
        UInt32(number) != nil
          || number.contains { $0 == "*" || $0 == "?" }
            && number.allSatisfy { "*?0123456789".contains($0) }
      default: false
      }
    guard isKnown else {
      throw Fault(
        line: line,
        reason: "client \"\(text)\": use cert:NAME, psk:USER, uid:NUMBER, anonymous, or *")
    }
    return Glob(String(text))
  }

  private static func checkDollars(_ disks: Substring, _ line: Int) throws(Fault) {
    guard disks.replacing("$name", with: "").contains("$") else { return }
    throw Fault(line: line, reason: "disks \"\(disks)\": after $ only \"name\" can follow")
  }

  /// A number, for sizes also with K, M, G or T.
  private static func number(_ text: Substring, isSize: Bool) -> UInt64? {
    let shifts: [Character: UInt64] = ["K": 10, "M": 20, "G": 30, "T": 40]
    guard isSize, let last = text.last, let shift = shifts[last] else { return UInt64(text) }
    guard let number = UInt64(text.dropLast()), number <= UInt64.max >> shift else { return nil }
    return number << shift
  }
}

/// Everything that is wrong with a rule file.
public struct Faults: Error, Sendable, CustomStringConvertible {
  public let faults: [RuleFile.Fault]
  init(_ faults: [RuleFile.Fault]) { self.faults = faults }
  public var description: String { faults.map(\.description).joined(separator: "\n") }
}

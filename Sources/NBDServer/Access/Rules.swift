/// Who may do what with which disks.
public struct Rules: Sendable {
  /// A line `CLIENT DISKS RIGHTS`.
  struct Rule: Sendable {
    let line: Int
    let client: Glob
    /// `$name` in it stands for the client's own name.
    let disks: String
    let rights: Rights
  }
  /// A line `limit CLIENT NAME=VALUE…`.
  struct Limit: Sendable {
    let line: Int
    let client: Glob
    let allowance: Allowance
  }
  /// What one client may have. Clients with the same identity count as one. Nil means no limit.
  public struct Allowance: Sendable, Equatable {
    public var connections: Int?
    /// Disks made by connecting.
    public var forks: Int?
    /// The memory of all disks that it made by connecting together, in bytes.
    public var memory: UInt64?
    /// Requests that are carried out at the same time.
    public var requests: Int?
  }

  var rules: [Rule] = []
  var limits: [Limit] = []

  /// Without a rule file: the processes of one user and of root may do everything, and so may every
  /// client that reached a TCP listener.
  public static func standard(user: UInt32) -> Rules {
    var rules = Rules()
    func add(_ client: String, _ rights: Rights) {
      rules.rules.append(Rule(line: 0, client: Glob(client), disks: "*", rights: rights))
    }
    add("uid:\(user)", .all)
    add("uid:0", .all)
    add("uid:*", [])
    add("*", .all)
    return rules
  }

  /// What a client may do with a disk: the first rule that names both decides. Returns the line of
  /// that rule as well; no line means that none does, which allows nothing.
  public func decide(_ client: Identity, _ disk: String) -> (rights: Rights, line: Int?) {
    let text = client.description
    for rule in rules where rule.client.matches(text) && rule.covers(disk, client) {
      return (rule.rights, rule.line)
    }
    return ([], nil)
  }

  /// The first line of limits that names the client.
  public func allowance(_ client: Identity) -> Allowance {
    let text = client.description
    return limits.first { $0.client.matches(text) }?.allowance ?? Allowance()
  }

  /// Rules that no client can reach, since an earlier one covers all that they name.
  public var unreachable: [(line: Int, because: Int)] {
    rules.indices.compactMap { index in
      let rule = rules[index]
      let earlier = rules[..<index].first {
        ($0.client.text == "*" || $0.client == rule.client)
          && ($0.disks == "*" || $0.disks == rule.disks)
      }
      return earlier.map { (rule.line, $0.line) }
    }
  }
}

extension Rules.Rule {
  fileprivate func covers(_ disk: String, _ client: Identity) -> Bool {
    guard disks.contains("$name") else { return Glob(disks).matches(disk) }
    // A name with a star must not widen the pattern, and one that no disk can have matches none.
    guard let name = client.name, !name.isEmpty, !name.contains("*"), !name.contains("?") else {
      return false
    }
    return Glob(disks.replacing("$name", with: name)).matches(disk)
  }
}

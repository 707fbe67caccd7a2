import ArgumentParser
import ControlPlane
import FoundationEssentials
import NBDServer

struct RulesCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rules",
    abstract: "Check a file that says who may do what with which disks.",
    discussion: """
      A line is CLIENT DISKS RIGHTS. The first line that names the client and the disk decides; if none \
      does, nothing is allowed. CLIENT is cert:NAME (the common name of a TLS certificate), psk:USER, \
      uid:NUMBER (on a Unix socket), anonymous, or *. DISKS is a pattern of names, in which $name is the \
      client's own name. * and ? work in both. RIGHTS are read, write, fork with commas between them, \
      all, or none.

      A line `limit CLIENT connections=N forks=N memory=SIZE requests=N` limits what a client may have; \
      the first that names the client counts. # begins a comment.
      """,
    subcommands: [Check.self])

  struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Check a rule file, or ask what it allows.",
      discussion: "Exits with 1 if the file has faults. Warns of lines that no client can reach.")
    @Argument(help: "The rule file.", completion: .file()) var file: String
    @Option(
      name: .customLong("as"),
      help: ArgumentHelp("The client to ask about, for example cert:ci-7.", valueName: "client"))
    var client: String?
    @Option(help: ArgumentHelp("The disk to ask about.", valueName: "name")) var disk: String?

    func validate() throws {
      guard (client == nil) == (disk == nil) else {
        throw ValidationError("--as and --disk: give both, or none")
      }
      if let client, Identity(client) == nil {
        throw ValidationError(
          "--as \(client): write cert:NAME, psk:USER, uid:NUMBER or anonymous")
      }
    }

    func run() throws {
      let rules = try RulesFile.load(file)
      for (line, because) in rules.unreachable {
        writeToStandardError(
          "warning: line \(line): never decides, since line \(because) covers all that it names\n")
      }
      guard let client, let identity = Identity(client), let disk else {
        return print("\(file): good")
      }
      let (rights, line) = rules.decide(identity, disk)
      print("\(identity) \(disk) \(rights)  (\(line.map { "line \($0)" } ?? "no line names them"))")
    }
  }
}

/// A rule file on disk.
enum RulesFile {
  static func load(_ path: String) throws -> Rules {
    switch RuleFile.parse(try SmallFile.read(path, atMost: RuleFile.longest)) {
    case .success(let rules): return rules
    case .failure(let faults):
      // One line for each fault.
      throw ControlError(lines: faults.faults.map { "\(path): \($0)" })
    }
  }
}

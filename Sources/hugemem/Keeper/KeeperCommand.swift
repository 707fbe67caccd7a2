import ArgumentParser
import ControlPlane
import FoundationEssentials
import Glibc
import MemoryFiles

struct KeeperCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "keeper",
    abstract: "Look at the memory that outlives a server, or drop it.",
    discussion: """
      A server with --survive starts a keeper: a small process that has the memory open, so that the disks \
      stay when the server ends, whatever ends it. The next server with the same --directory goes on with \
      them. The memory is gone when both have ended.
      """,
    subcommands: [Status.self, Start.self, End.self, Run.self])

  struct Status: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Show what a keeper has, and who uses it.",
      discussion: "Exits with 1 if there is no keeper.")
    @OptionGroup var server: ServerOptions
    @Flag(help: "Print JSON; sizes in bytes, and the time in seconds since 1970.") var json = false

    func run() throws {
      let directory = RuntimeDirectory(server.directory).path
      guard let status = try KeeperStatus(of: directory) else { throw Self.nobody(directory) }
      if json { return try printJSON(status) }
      let server =
        status.server.map { "a server, process \($0)" } ?? (status.isUsed ? "a server" : "nobody")
      let since = Date(timeIntervalSince1970: Double(status.since)).formatted(.iso8601)
      print(
        """
        keeper   process \(status.process), since \(since)
        used by  \(server)
        memory   \(ByteSize(status.memory)), in a file of \(ByteSize(status.size)) with holes
        kind     \(status.kind)
        """)
    }

    static func nobody(_ directory: String) -> ControlError {
      ControlError("\(directory): no keeper; `hugemem serve --survive` starts one")
    }
  }

  struct Start: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Start a keeper before a server does.",
      discussion: """
        A server with --survive starts its own. That lives in the server's control group and session, and \
        some managers end all that is in there with the server. One that you start elsewhere, for example \
        with `systemd-run --user --scope hugemem keeper start`, they do not see.
        """)
    @OptionGroup var server: ServerOptions

    func run() throws {
      let directory = RuntimeDirectory(server.directory)
      try directory.make()
      let (process, isNew) = try KeptMemory.startKeeper(in: directory.path)
      print("\(isNew ? "started" : "there is") a keeper, process \(process), in \(directory.path)")
    }
  }

  struct End: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Drop the memory that a keeper has, with all disks in it.",
      discussion: "Refuses while a server uses it. Exits with 1 if there is no keeper.")
    @OptionGroup var server: ServerOptions

    func run() throws {
      let directory = RuntimeDirectory(server.directory).path
      guard let process = try KeptMemory.endKeeper(in: directory) else {
        throw Status.nobody(directory)
      }
      print("the keeper, process \(process), has dropped the memory")
    }
  }

  /// What a keeper runs. `Hugemem.main` calls it without a parser, which would take memory for as long as the
  /// keeper lives; this is for its name among the commands.
  struct Run: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Keep the memory whose descriptors a server gave.", shouldDisplay: false)
    @OptionGroup var server: ServerOptions

    func run() throws { try Self.keep(in: RuntimeDirectory(server.directory).path) }

    static func keep(in directory: String) throws {
      var service = try KeeperService(directory: directory)
      service.run()
    }

    /// The directory, if the arguments are those with which a server starts its keeper.
    static func directory(_ arguments: [String]) -> String? {
      arguments.count == 4 && arguments[..<3] == ["keeper", "run", "--directory"]
        ? arguments[3] : nil
    }
  }
}

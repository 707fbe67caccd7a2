import ArgumentParser
import ControlPlane

@main
struct Hugemem: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "hugemem",
    abstract: "RAM disks over NBD that cost nothing until written, and fork in microseconds.",
    discussion: """
      Start a server with `hugemem serve`, then use the other commands while it runs. Disks live \
      in memory: FLUSH and FUA only order writes. With `serve --survive` disks outlive the server, and \
      `hugemem checkpoint` saves them to files.
      """,
    version: hugememVersion,
    subcommands: [
      Serve.self, Create.self, Import.self, Export.self, CheckpointCommand.self, Fork.self,
      Reset.self, Rename.self,
      SetOptions.self,
      Resize.self, Remove.self, List.self, Stat.self, Top.self, Shrink.self, Limit.self, Tune.self,
      KeeperCommand.self, RulesCommand.self, Doctor.self,
      Bench.self,
    ])

  static func main() {
    let given = Array(CommandLine.arguments.dropFirst())
    do {
      if let directory = KeeperCommand.Run.directory(given) {
        return try KeeperCommand.Run.keep(in: directory)
      }
      let arguments = try ConfigFile.expand(given)
      do { _ = try parseAsRoot(arguments) } catch  where arguments != given {
        writeToStandardError("note: some of the options come from the file of --config\n")
        throw error
      }
      main(arguments)
    } catch {
      exit(withError: error)
    }
  }
}

/// The options of every command that talks to a server.
struct ServerOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "The server's directory (default: $XDG_RUNTIME_DIR/hugemem, else /tmp/hugemem-UID).",
      valueName: "dir"))
  var directory: String?

  /// Connects to the server, for several requests. What the server holds for them goes with the session.
  func session() throws(ControlError) -> ServerSession {
    try ServerSession(RuntimeDirectory(directory))
  }

  /// Asks the server. Throws the server's message if the request fails.
  func ask(
    _ request: ControlRequest, with file: OpenFile? = nil,
    progress: DiskFile.Progress = { _, _ in }
  ) throws -> ControlResponse {
    try session().ask(request, with: file, progress: progress)
  }

  /// Asks for long work, with the file that it reads or writes, and shows its progress.
  func ask(_ request: ControlRequest, with file: OpenFile, showing title: String) throws {
    let bar = ProgressBar(title)
    defer { bar.finish() }
    _ = try ask(request, with: file) { bar.show($0, $1) }
  }
}

extension ByteSize: ExpressibleByArgument {
  public init?(argument: String) { self.init(argument) }
}

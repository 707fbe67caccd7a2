import ArgumentParser
import ControlPlane

@main
struct Hugemem: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "hugemem",
    abstract: "RAM disks over NBD that cost nothing until written, and fork in microseconds.",
    discussion: """
      Start a server with `hugemem serve`, then use the other commands beside it. Disks live in \
      memory: FLUSH and FUA order writes, nothing survives the server.
      """,
    version: "0.1.0",
    subcommands: [
      Serve.self, Create.self, Import.self, Export.self, Fork.self, Reset.self, Remove.self,
      List.self, Stat.self, Top.self, Shrink.self, Limit.self, Tune.self, Bench.self,
    ])
}

/// What every command that talks to a server takes.
struct ServerOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "The server's directory (default: $XDG_RUNTIME_DIR/hugemem, else /tmp/hugemem-UID).",
      valueName: "dir"))
  var directory: String?

  /// Asks the server; its message becomes the command's error.
  func ask(
    _ request: ControlRequest, progress: DiskFile.Progress = { _, _ in }
  ) throws -> ControlResponse {
    try ControlClient(RuntimeDirectory(directory)).ask(request, progress: progress)
  }

  /// Asks for long work, and shows how far it is.
  func ask(_ request: ControlRequest, showing title: String) throws {
    let bar = ProgressBar(title)
    _ = try ask(request) { bar.show($0, $1) }
    bar.finish()
  }
}

extension ByteSize: ExpressibleByArgument {
  public init?(argument: String) { self.init(argument) }
}

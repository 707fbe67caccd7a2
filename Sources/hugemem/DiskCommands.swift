import ArgumentParser
import ControlPlane

struct Create: ParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Create an empty disk.")
  @OptionGroup var server: ServerOptions
  @Argument var name: String
  @Option(help: "The disk's size, for example 1T, 10G or 512 MiB.") var size: ByteSize
  @OptionGroup var limits: LimitOptions

  func run() throws {
    _ = try server.ask(.create(name: name, size: size.bytes, limits: limits.limits))
  }
}

struct Import: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Create a disk from a raw image; holes and blocks of zeros stay holes.")
  @OptionGroup var server: ServerOptions
  @Argument var name: String
  @Argument(completion: .file()) var file: String
  @OptionGroup var limits: LimitOptions

  func run() throws {
    try server.ask(
      .importFile(name: name, path: absolutePath(file), limits: limits.limits),
      showing: "import \(name)")
  }
}

struct Export: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Write a disk, as it is now, to a sparse raw image.")
  @OptionGroup var server: ServerOptions
  @Argument var name: String
  @Argument(completion: .file()) var file: String

  func run() throws {
    try server.ask(.exportFile(name: name, path: absolutePath(file)), showing: "export \(name)")
  }
}

struct Fork: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Fork a disk, once for each name, at a point after all completed writes.")
  @OptionGroup var server: ServerOptions
  @Argument var source: String
  @Argument(help: namesHelp) var names: [String]
  @OptionGroup var limits: LimitOptions

  func validate() throws {
    guard !names.isEmpty else { throw ValidationError("name: give the forks at least one name") }
  }
  func run() throws {
    _ = try server.ask(.fork(source: source, names: expanded(names), limits: limits.limits))
  }
}

struct Reset: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Return a fork to its origin's contents at the fork, clients stay connected.")
  @OptionGroup var server: ServerOptions
  @Argument var name: String

  func run() throws { _ = try server.ask(.reset(name: name)) }
}

struct Remove: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Remove disks; their forks live on.")
  @OptionGroup var server: ServerOptions
  @Argument(help: namesHelp) var names: [String]

  func validate() throws {
    guard !names.isEmpty else { throw ValidationError("name: which disks?") }
  }
  func run() throws { _ = try server.ask(.remove(names: expanded(names))) }
}

private let namesHelp: ArgumentHelp =
  "Names of disks; a - reads more from standard input, one a line."

/// The names, those of standard input in the place of a `-`.
private func expanded(_ names: [String]) -> [String] {
  names.flatMap { name in
    guard name == "-" else { return [name] }
    return Array(sequence(state: ()) { _ in readLine() })
  }
}

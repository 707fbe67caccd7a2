import ArgumentParser
import ControlPlane
import Glibc
import NBDServer

struct Create: ParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Create an empty disk.")
  @OptionGroup var server: ServerOptions
  @Argument var name: String
  @Option(help: "The disk's size, for example 1T, 10G or 512 MiB. Use a multiple of 512 bytes.")
  var size: ByteSize
  @OptionGroup var limits: LimitOptions
  @OptionGroup var options: NewDiskOptions

  func run() throws {
    _ = try server.ask(
      .create(
        name: name, size: size.bytes, limits: limits.limits, options: options.options))
    noteUnevenSize(size)
  }
}

struct Fork: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Fork a disk once for each name, at a point after all completed writes.")
  @OptionGroup var server: ServerOptions
  @Argument var source: String
  @Argument(help: namesHelp) var names: [String] = []
  @Option(
    name: .customLong("names"),
    help: ArgumentHelp(
      "A file with names of forks, one per line. Empty lines and lines that begin with # are skipped.",
      valueName: "file"), completion: .file())
  var file: String?
  @OptionGroup var limits: LimitOptions
  @OptionGroup var options: NewDiskOptions

  func validate() throws {
    guard !names.isEmpty || file != nil else {
      throw ValidationError("name: give the forks at least one name")
    }
  }
  func run() throws {
    var names = try expanded(names)
    if let file { names += try NameFile.read(file) }
    guard !names.isEmpty else { throw ControlError("\(file ?? "-"): has no name") }
    _ = try server.ask(
      .fork(source: source, names: names, limits: limits.limits, options: options.options))
  }
}

struct Reset: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Return a fork to the contents that it was made with. Its clients stay connected.")
  @OptionGroup var server: ServerOptions
  @Argument var name: String

  func run() throws { _ = try server.ask(.reset(name: name)) }
}

struct Rename: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract:
      "Give a disk another name. Its clients stay connected, and its forks keep their origin.")
  @OptionGroup var server: ServerOptions
  @Argument var name: String
  @Argument var newName: String

  func run() throws { _ = try server.ask(.rename(name: name, to: newName)) }
}

struct SetOptions: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "set",
    abstract: "Protect a disk from writes, or describe it.",
    discussion: """
      Writes to a read-only disk get EPERM, also from clients that are connected already. Forks of it \
      can be written.
      """)
  @OptionGroup var server: ServerOptions
  @Argument var name: String
  @Flag(help: "Let clients only read the disk.") var readOnly = false
  @Flag(help: "Let clients write to the disk again.") var readWrite = false
  @Option(help: "A line about the disk, which clients see too. An empty one removes it.")
  var description: String?

  func validate() throws {
    guard readOnly || readWrite || description != nil else {
      throw ValidationError("say what to change: --read-only, --read-write or --description")
    }
    guard !(readOnly && readWrite) else {
      throw ValidationError("--read-only and --read-write: use one of them")
    }
  }
  func run() throws {
    let isReadOnly: Bool? = readOnly ? true : readWrite ? false : nil
    _ = try server.ask(
      .set(name: name, options: DiskOptions(isReadOnly: isReadOnly, description: description)))
  }
}

struct Resize: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Change the size of a disk.",
    discussion: """
      Clients stay connected, and see the size when they connect again. New space reads as zeros. A \
      reset gives a fork the size back that it was made with.
      """)
  @OptionGroup var server: ServerOptions
  @Argument var name: String
  @Argument(help: "The new size, for example 20G. Use a multiple of 512 bytes.") var size: ByteSize
  @Flag(help: "Let the disk become smaller. What lies beyond the new end is lost.")
  var shrink = false

  func run() throws {
    _ = try server.ask(.resize(name: name, size: size.bytes, shrinks: shrink))
    noteUnevenSize(size)
  }
}

struct Remove: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Remove disks. Their forks stay.")
  @OptionGroup var server: ServerOptions
  @Argument(help: namesHelp) var names: [String]

  func validate() throws {
    guard !names.isEmpty else { throw ValidationError("name: name at least one disk") }
  }
  func run() throws { _ = try server.ask(.remove(names: try expanded(names))) }
}

private let namesHelp: ArgumentHelp =
  "Names of disks. A - reads more names from standard input, one per line."

/// The names, with each `-` replaced by the names from standard input.
private func expanded(_ names: [String]) throws -> [String] {
  try names.flatMap { $0 == "-" ? try NameFile.read("-") : [$0] }
}

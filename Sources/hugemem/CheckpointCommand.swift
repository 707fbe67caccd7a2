import ArgumentParser
import Checkpoints
import ControlPlane
import Glibc

struct CheckpointCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "checkpoint",
    abstract: "Save disks to a directory, all as they are at one point.",
    discussion: """
      Saves all disks, or those that you name; forks share what they share in memory. `serve --restore DIR` \
      brings them back. A later checkpoint to the same DIR writes only what changed, as long as memory is \
      not short. Until it is complete, DIR has the one before; so it has if the command or the server is \
      interrupted, or the file system is full. What clients write after the checkpoint is not in it.
      """)
  @OptionGroup var server: ServerOptions
  @Flag(help: "Read the checkpoint in DIR and check every page, without a server.") var check =
    false
  @Argument(help: "The directory, which is made if it is not there.", completion: .directory)
  var dir: String
  @Argument(help: "The disks to save.") var names: [String] = []

  func validate() throws {
    guard !dir.isEmpty else { throw ValidationError("dir: is empty; name a directory") }
    guard dir != "-" else {
      throw ValidationError("-: a checkpoint is a directory, not a stream; use export for one disk")
    }
    guard !check || names.isEmpty else {
      throw ValidationError("--check: reads all of the checkpoint; name no disks")
    }
  }

  func run() throws {
    if check { return try checkAll() }
    let session = try server.session()
    let isNew = unsafe mkdir(dir, 0o777) == 0
    guard isNew || errno == EEXIST else {
      throw ControlError("make \(dir): \(unsafe String(cString: strerror(errno)))")
    }
    let end: ServerSession.Checkpointed
    do {
      let directory = try openDirectory()
      let bar = ProgressBar("checkpoint")
      defer { bar.finish() }
      end = try session.checkpoint(
        names.isEmpty ? nil : names, to: directory, name: absolutePath(dir)
      ) { bar.show($0, $1) }
    } catch {
      // Unless something is in it.
      if isNew { unsafe rmdir(dir) }
      throw error
    }
    print(
      "checkpoint \(end.generation) in \(dir): \(count(end.disks)), \(ByteSize(end.written)) written\(end.incremental ? ", the rest is as in the last one" : "")"
    )
  }

  private func count(_ disks: Int) -> String { disks == 1 ? "1 disk" : "\(disks) disks" }

  /// With the rights of the user of the command, as for other files.
  private func openDirectory() throws -> OpenFile {
    let descriptor = unsafe open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw ControlError("open \(dir): \(unsafe String(cString: strerror(errno)))")
    }
    guard unsafe faccessat(descriptor, ".", W_OK, 0) == 0 else {
      throw ControlError("write to \(dir): \(unsafe String(cString: strerror(errno)))")
    }
    return OpenFile(descriptor)
  }

  private func checkAll() throws {
    do {
      let disks = try Checkpoints.check(CheckpointDirectory(path: dir))
      print("checkpoint in \(dir): every page is good; \(count(disks.count)):")
      for disk in disks {
        let origin = disk.origin.map { ", a fork of \($0.name)" } ?? ""
        print("  \(disk.name), \(ByteSize(disk.size))\(origin)")
      }
    } catch {
      throw ControlError("\(dir): \(error)")
    }
  }
}

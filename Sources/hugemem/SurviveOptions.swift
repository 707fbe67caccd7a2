import ArgumentParser
import ControlPlane
import Logging
import MemoryFiles

/// Options for memory that belongs to no process.
struct SurviveOptions: ParsableArguments {
  @Flag(
    help:
      "Keep the disks when the server ends, in whatever way: the next server with this option goes on from them. A keeper process, or systemd's file-descriptor store, has the memory meanwhile. `hugemem keeper end` drops it."
  )
  var survive = false
  @Option(
    help: ArgumentHelp(
      "Like --survive, with the memory in this file, which must be on a tmpfs or hugetlbfs. Remove the file to drop it.",
      valueName: "file"), completion: .file())
  var memoryFile: String?

  @Flag(
    help:
      "Take the disks and the listening sockets over from the server of the same directory, which ends, and whose clients connect again. If this server cannot read its memory, that one goes on. Needs --survive or --memory-file."
  )
  var takeover = false

  func validate() throws {
    guard memoryFile != "" else {
      throw ValidationError("--memory-file: is empty; name a file on a tmpfs or hugetlbfs")
    }
    guard !takeover || isOn else {
      throw ValidationError("--takeover: needs --survive or --memory-file")
    }
  }

  var isOn: Bool { survive || memoryFile != nil }

  /// Gets the memory; nil if the options do not ask for it. `room` is the most that will be used, in
  /// bytes.
  func obtain(
    in directory: RuntimeDirectory, from taken: Takeover?, stored: [Int32], room: UInt64,
    _ log: Logger
  ) throws -> SurvivingMemory? {
    guard isOn else {
      KeptMemory.tellOfLeftovers(in: directory.path, stored: stored, log: log)
      return nil
    }
    do {
      if let taken {
        return SurvivingMemory(
          try KeptMemory.goOn(with: taken.memory, in: directory.path, log: log), name: name)
      }
      let kept = try KeptMemory.obtain(
        in: directory.path, path: memoryFile, room: room, stored: stored, log: log)
      return SurvivingMemory(kept, name: name)
    } catch { throw refusal(error) }
  }

  /// Throws what a start would say of the memory file, as far as nothing has to be read or made.
  func checkFile(room: UInt64) throws {
    guard let memoryFile else { return }
    do { try KeptMemory.check(path: memoryFile, room: room) } catch { throw refusal(error) }
  }

  /// Names the option, and the path once.
  private func refusal(_ error: MemoryFileError) -> ControlError {
    let text = "\(error)"
    if let memoryFile, text.hasPrefix("\(memoryFile): ") {
      return ControlError("--memory-file \(text)")
    }
    return ControlError("\(name): \(text)")
  }

  private var name: String { memoryFile.map { "--memory-file \($0)" } ?? "--survive" }
}

import Checkpoints
import ControlPlane
import Glibc
import HugeMemory
import Logging
import NBDServer

// The disks that the options of a start name.
extension Serve {
  /// Loads every file that the options name, as a start would.
  func checkOptions() throws {
    _ = try listening.context()
    let token = try http.token()
    // A server may run on the ports.
    for listener in try http.listeners(listening, hasToken: token != nil, anyPort: true) {
      close(listener.descriptor)
    }
    if let rules { _ = try RulesFile.load(rules) }
    try RuntimeDirectory(server.directory).checkLength()
    try survival.checkFile(room: limit)
    try checkDisks()
    print("hugemem: the options are good")
  }

  /// Throws what `fill` would throw, as far as no disk has to be loaded. `there` has the sizes of disks
  /// that are there.
  func checkDisks(unless there: [String: UInt64] = [:]) throws {
    if let restore, there.isEmpty {
      do { _ = try Checkpoints.check(CheckpointDirectory(path: restore)) } catch {
        throw ControlError("--restore \(restore): \(error)")
      }
    }
    let disks: Disks
    do {
      let bytes = memory?.bytes ?? 1 << 30
      disks = Disks(
        machine: try Machine(limit: bytes, background: .none), limit: connections.maxDisks)
    } catch {
      throw ControlError("--memory \(memory.map { "\($0)" } ?? "by default"): \(error)")
    }
    try create(in: disks, unless: there)
    for text in imports {
      guard let (name, path) = pair(text), there[name] == nil else { continue }
      do {
        try disks.checkFree(name)
        var status = stat()
        // A pipe would wait for its writer.
        if unsafe path != "-" && (stat(path, &status) != 0 || status.st_mode & S_IFMT != S_IFIFO) {
          _ = try ImageSource(path: path)
        }
      } catch {
        throw ControlError("--import \(text): \(error)")
      }
    }
  }

  /// Makes the disks that the options name. With memory of an earlier server, only those that are not
  /// there yet, so that the same command line starts the server again. If it throws, it has made none, so
  /// that the next start finds what this one has found.
  func fill(_ disks: Disks, _ checkpoints: Checkpoints, _ log: Logger) throws {
    let there = Dictionary(uniqueKeysWithValues: disks.list().map { ($0.name, $0.size) })
    do {
      try bring(to: disks, unless: there, checkpoints, log)
      try create(in: disks, unless: there, log)
      try load(to: disks, unless: there)
    } catch {
      let made = disks.list().map(\.name).filter { there[$0] == nil }
      try? disks.remove(made)
      throw there.isEmpty
        ? error : ControlError("\(error); the disks of the earlier server are kept")
    }
  }

  private func bring(
    to disks: Disks, unless there: [String: UInt64], _ checkpoints: Checkpoints, _ log: Logger
  ) throws {
    guard let restore else { return }
    guard there.isEmpty else {
      log.notice(
        "--restore does nothing, since there are disks", metadata: ["disks": "\(there.count)"])
      return
    }
    do {
      let directory = try CheckpointDirectory(path: restore)
      if lazy {
        _ = try disks.restoreLazily(from: directory, checkpoints, log)
      } else {
        let bar = ProgressBar("restore")
        _ = try disks.restore(from: directory, checkpoints) { bar.show($0, $1) }
        bar.finish()
      }
    } catch {
      throw ControlError("--restore \(restore): \(error)")
    }
  }

  /// `there` has the sizes of the disks that an earlier server left.
  private func create(
    in disks: Disks, unless there: [String: UInt64] = [:], _ log: Logger? = nil
  ) throws {
    for text in create {
      guard let (name, size) = pair(text), let size = ByteSize(size) else { continue }
      if let old = there[name] {
        if old != size.bytes {
          log?.warning(
            "--create changes no disk that is there; `hugemem resize` does",
            metadata: ["disk": "\(name)", "size": "\(ByteSize(old))", "create": "\(size)"])
        }
        continue
      }
      do { try disks.create(name, size: size.bytes) } catch {
        throw ControlError("--create \(text): \(error)")
      }
    }
  }

  private func load(to disks: Disks, unless there: [String: UInt64]) throws {
    for text in imports {
      guard let (name, path) = pair(text), there[name] == nil else { continue }
      let bar = ProgressBar("import \(name)")
      do {
        try disks.load(name, from: ImageSource(path: path)) { bar.show($0, $1) }
      } catch {
        throw ControlError("--import \(text): \(error)")
      }
      bar.finish()
    }
  }

  /// The two sides of NAME=VALUE.
  func pair(_ text: String) -> (String, String)? {
    guard let equals = text.firstIndex(of: "=") else { return nil }
    return (String(text[..<equals]), String(text[text.index(after: equals)...]))
  }
}

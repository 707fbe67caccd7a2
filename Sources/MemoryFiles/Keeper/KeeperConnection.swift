import CLinux
import Glibc

/// A connection to a keeper, and the file that came over it.
package final class KeeperConnection: Sendable {
  let socket: Int32
  /// The keeper's process number.
  package let process: Int32
  /// The keeper's descriptor, of an open file description that all have. Never lock it.
  let file: Int32
  /// When the keeper began, in seconds since 1970.
  package let since: Int

  /// Asks the keeper of a directory for its file. Returns nil if there is no keeper, or if it has just
  /// ended.
  package init?(to directory: String) throws(MemoryFileError) {
    guard let socket = try Self.open(directory) else { return nil }
    self.socket = socket
    guard let (reply, descriptor) = try Self.ask(.take, of: socket) else {
      close(socket)
      return nil
    }
    guard case .file(let process, let since) = reply, let descriptor else {
      close(socket)
      if let descriptor { close(descriptor) }
      throw Self.surprise(reply)
    }
    (file, self.process, self.since) = (descriptor, process, since)
  }

  deinit {
    close(socket)
    close(file)
  }

  /// The file, for this process alone. Throws if another uses it.
  func adopt() throws(MemoryFileError) -> MemoryFile {
    let copy = fcntl(file, F_DUPFD_CLOEXEC, 0)
    guard copy >= 0 else { throw MemoryFileError("the memory that is kept", errno: errno) }
    return try MemoryFile(adopting: copy)
  }

  /// Whether the keeper has ended meanwhile.
  var hasEnded: Bool {
    var wait = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
    return unsafe poll(&wait, 1, 0) > 0
  }

  /// Makes a keeper drop its memory. Returns its process number, or nil if there is no keeper.
  /// Throws if a server uses the memory.
  package static func end(in directory: String) throws(MemoryFileError) -> Int32? {
    guard let socket = try open(directory) else { return nil }
    defer { close(socket) }
    let process = KeeperSocket.peer(of: socket)?.process ?? 0
    guard let (reply, _) = try ask(.end, of: socket) else { return nil }
    switch reply {
    case .ended: return process
    case .inUse:
      var user = "a server"
      if let held = try KeeperConnection(to: directory) { user = FileLock.user(of: held.file) }
      throw MemoryFileError(
        "\(directory): \(user) uses the memory that is kept; stop that first")
    default: throw surprise(reply)
    }
  }

  private static func open(_ directory: String) throws(MemoryFileError) -> Int32? {
    let path = KeeperSocket.path(in: directory)
    guard let socket = try KeeperSocket.connect(path) else { return nil }
    guard KeeperSocket.isTrusted(socket, byRoot: true) else {
      close(socket)
      throw MemoryFileError("\(path): another user listens there; choose another --directory")
    }
    KeeperSocket.setPatience(5, of: socket)
    return socket
  }

  /// Nil if the keeper has ended.
  private static func ask(
    _ request: KeeperRequest, of socket: Int32
  ) throws(MemoryFileError) -> (KeeperReply, Int32?)? {
    // The keeper may have closed the connection, with its reason in it.
    _ = KeeperSocket.send(request.rawValue, to: socket)
    let (text, descriptor): (String, Int32?)
    switch KeeperSocket.receive(from: socket) {
    case .packet(let first, let second): (text, descriptor) = (first, second)
    case .end: return nil
    case .failure(let code) where code != EAGAIN: return nil
    case .failure:
      let process = KeeperSocket.peer(of: socket)?.process ?? 0
      throw MemoryFileError(
        "the keeper (process \(process)) does not answer; if it is stopped, `kill -CONT \(process)`, or "
          + "end it with `kill -9 \(process)`, which loses the memory unless a server uses it")
    }
    guard let reply = KeeperReply(text) else {
      if let descriptor { close(descriptor) }
      throw surprise(.refused("an unknown answer"))
    }
    return (reply, descriptor)
  }

  private static func surprise(_ reply: KeeperReply) -> MemoryFileError {
    let why = if case .refused(let why) = reply { why } else { reply.text }
    return MemoryFileError("the keeper refused: \(why)")
  }
}

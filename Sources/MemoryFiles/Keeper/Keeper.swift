import CLinux
import Glibc
import Primitives

/// Starts keepers: one for a directory.
enum Keeper {
  /// The arguments of the command that `KeeperService` runs in, for a directory.
  static func arguments(_ directory: String) -> [String] {
    ["hugemem", "keeper", "run", "--directory", directory]
  }

  /// The lock of the keepers of a directory. A keeper has it open, and locked, as long as it lives, so
  /// nobody else starts one. The file stays at the end: who has it open could otherwise lock a file that
  /// nobody else sees. Returns nil if another has the lock.
  static func lock(_ directory: String) throws(MemoryFileError) -> Int32? {
    let path = directory + "/keeper.lock"
    let lock = unsafe open(path, O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard lock >= 0 else { throw MemoryFileError("open \(path)", errno: errno) }
    let code = takeFileLock(lock)
    if code == 0 { return lock }
    close(lock)
    guard code == EWOULDBLOCK else { throw MemoryFileError("lock \(path)", errno: code) }
    return nil
  }

  /// The memory that the keeper of a directory has; if there is none, makes memory and starts a keeper.
  static func obtain(
    in directory: String, program: String
  ) throws(MemoryFileError) -> (KeeperConnection, MemoryFile, isNew: Bool) {
    for _ in 0..<attempts {
      let (connection, made) = try find(in: directory, program: program)
      if let made { return (connection, made, true) }
      do throws(MemoryFileError) {
        return (connection, try connection.adopt(), false)
      } catch {
        // A keeper that is told to end has the lock of the file until it has ended.
        guard connection.hasEnded else { throw error }
      }
    }
    throw late(directory)
  }

  /// A connection to the keeper of a directory. If there is none, makes memory and starts one, and returns
  /// the memory too. Of several that do so at once, one starts it.
  static func find(
    in directory: String, program: String
  ) throws(MemoryFileError) -> (KeeperConnection, MemoryFile?) {
    for _ in 0..<attempts {
      if let connection = try KeeperConnection(to: directory) { return (connection, nil) }
      if let lock = try lock(directory) {
        defer { close(lock) }
        // Since the look before, one may have been started, and may even have ended.
        if let connection = try KeeperConnection(to: directory) { return (connection, nil) }
        let file = try MemoryFile.make()
        return (try start(file, in: directory, lock: lock, program: program), file)
      }
      // The lock comes a little before the socket, and goes a little after the connections.
      usleep(pause)
    }
    throw late(directory)
  }

  /// Starts a keeper for a file in place of one that has ended.
  static func replace(
    for file: MemoryFile, in directory: String, program: String
  ) throws(MemoryFileError) -> KeeperConnection {
    for _ in 0..<attempts {
      if let lock = try lock(directory) {
        defer { close(lock) }
        return try start(file, in: directory, lock: lock, program: program)
      }
      usleep(pause)
    }
    throw late(directory)
  }

  /// For a keeper that begins or ends: 5 s.
  private static let attempts = 500
  private static let pause: UInt32 = 10_000

  private static func late(_ directory: String) -> MemoryFileError {
    MemoryFileError(
      "\(directory)/keeper.lock: another process has the lock, but no keeper answers; look for it with `fuser`"
    )
  }

  /// Starts a keeper of a file, and connects to it. Give the lock, which the keeper gets. The socket
  /// listens before the keeper runs, so a client that comes early waits for it.
  static func start(
    _ file: MemoryFile, in directory: String, lock: Int32, program: String
  ) throws(MemoryFileError) -> KeeperConnection {
    let kept = try file.another()
    defer { close(kept) }
    let listener = try KeeperSocket.listen(KeeperSocket.path(in: directory))
    let given = [kept, listener, lock]
    var process: Int32 = 0
    let words = unsafe arguments(directory).map { unsafe strdup($0) } + [nil]
    defer { unsafe words.forEach { unsafe free($0) } }
    let error = unsafe hm_spawn_apart(program, words, given, Int32(given.count), &process)
    // With this one open, nobody would see that the keeper ended.
    close(listener)
    guard error == 0 else { throw MemoryFileError("start a keeper (\(program))", errno: error) }
    do throws(MemoryFileError) {
      if let connection = try KeeperConnection(to: directory) { return connection }
      throw MemoryFileError("it ended at once")
    } catch {
      kill(process, SIGKILL)
      waitpid(process, nil, 0)
      throw MemoryFileError("start a keeper (\(program)): \(error)")
    }
  }
}

import CLinux
import Glibc
import Logging
import Primitives
import Synchronization

/// A server's keeper. The server has the file open too, so when the keeper ends, it starts another one
/// with the same memory. Only if both end at once is the memory lost.
final class WatchedKeeper: Sendable {
  private let file: MemoryFile
  private let directory: String
  private let program: String
  private let log: Logger
  /// (L) The connection to the keeper; or why there is none.
  private let state: Mutex<Result<KeeperConnection, MemoryFileError>>
  /// Readable when the watch ends.
  private let stopped: Int32

  init(
    _ connection: KeeperConnection, of file: MemoryFile, in directory: String, program: String,
    _ log: Logger
  ) throws(MemoryFileError) {
    (self.file, self.directory, self.program, self.log) = (file, directory, program, log)
    state = Mutex(.success(connection))
    stopped = hm_event_counter()
    guard stopped >= 0 else { throw MemoryFileError("watch the keeper", errno: -stopped) }
    let thread = WorkerThread { [self] in watch() }
    guard let thread else {
      throw MemoryFileError("start a thread that watches the keeper", errno: EAGAIN)
    }
    thread.detach()
  }

  // The thread has a reference until it ends.
  deinit { close(stopped) }

  /// Ends the watch.
  func stop() {
    var one: UInt64 = 1
    _ = unsafe write(stopped, &one, 8)
  }

  /// The process number of the keeper; or why there is none.
  var process: Result<Int32, MemoryFileError> {
    state.withLock { state in state.map { $0.process } }
  }

  private func watch() {
    unsafe hm_name_thread("keeper-watch")
    var pause: Int32 = 1000
    while true {
      switch state.withLock({ $0 }) {
      case .success(let connection):
        guard wait(for: connection.socket, milliseconds: -1) else { return }
        log.warning(
          "the keeper of the memory ended; another one is started",
          metadata: ["process": "\(connection.process)"])
        state.withLock { $0 = .failure(MemoryFileError("it ended, and another is being started")) }
        Self.reap(connection.process)
        pause = 1000
      case .failure:
        do throws(MemoryFileError) {
          let connection = try Keeper.replace(for: file, in: directory, program: program)
          log.notice(
            "a keeper keeps the memory again", metadata: ["process": "\(connection.process)"])
          state.withLock { $0 = .success(connection) }
        } catch {
          log.error(
            "nothing keeps the memory if this server ends; it is tried again",
            metadata: ["reason": "\(error)", "seconds": "\(pause / 1000)"])
          state.withLock { $0 = .failure(error) }
          guard wait(for: -1, milliseconds: pause) else { return }
          pause = min(2 * pause, 60_000)
        }
      }
    }
  }

  /// Waits until a connection ends, or for the time. Returns false if the watch ends.
  private func wait(for socket: Int32, milliseconds: Int32) -> Bool {
    while true {
      // poll(2) ignores a descriptor of -1.
      var waits: [2 of pollfd] = [
        pollfd(fd: stopped, events: Int16(POLLIN), revents: 0),
        pollfd(fd: socket, events: Int16(POLLIN), revents: 0),
      ]
      let ready = unsafe withUnsafeMutableBytes(of: &waits) {
        unsafe poll($0.bindMemory(to: pollfd.self).baseAddress, 2, milliseconds)
      }
      if ready < 0 { continue }
      return waits[0].revents == 0
    }
  }

  /// Takes the status of a keeper that was this process's child. An earlier server may have started it.
  private static func reap(_ process: Int32) {
    for _ in 0..<100 where waitpid(process, nil, WNOHANG) == 0 { usleep(10_000) }
  }
}

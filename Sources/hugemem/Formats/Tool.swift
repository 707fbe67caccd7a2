import ControlPlane
import FoundationEssentials
import Glibc
import Synchronization

/// A program of another package that the command runs, such as `qemu-img`. It gets the terminal's
/// standard error, and ends with the command.
enum Tool {
  /// The program that runs now, or 0.
  private static let running = Mutex<pid_t>(0)

  /// From this call on, a signal that ends the command ends the program first, and calls `clean`.
  static func endWithSignals(clean: @escaping @Sendable () -> Void = {}) {
    Signals.take([SIGINT, SIGTERM, SIGHUP]) { signal in
      let child = running.withLock { $0 }
      if child > 0 { kill(child, SIGTERM) }
      clean()
      _exit(128 + signal)
    }
  }

  /// Runs a program to its end and returns what it wrote to standard output. With `shows`, that goes
  /// to standard error instead, for progress. `package` is the package that has the program.
  @discardableResult
  static func run(
    _ command: [String], package: String, shows: Bool = false
  ) throws(ControlError) -> Data {
    var ends: [Int32] = [-1, -1]
    guard unsafe pipe(&ends) == 0 else {
      throw ControlError("pipe: \(unsafe String(cString: strerror(errno)))")
    }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    var actions = unsafe posix_spawn_file_actions_t()
    unsafe posix_spawn_file_actions_init(&actions)
    defer { unsafe posix_spawn_file_actions_destroy(&actions) }
    unsafe posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
    unsafe posix_spawn_file_actions_adddup2(
      &actions, shows ? STDERR_FILENO : ends[1], STDOUT_FILENO)
    // The command blocks the signals that it takes on a thread. The program must not.
    var attributes = posix_spawnattr_t()
    unsafe posix_spawnattr_init(&attributes)
    defer { unsafe posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    unsafe sigemptyset(&none)
    unsafe posix_spawnattr_setsigmask(&attributes, &none)
    unsafe posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))

    var arguments = unsafe command.map { unsafe strdup($0) } + [nil]
    defer { unsafe arguments.forEach { unsafe free($0) } }
    var child: pid_t = 0
    let code = unsafe posix_spawnp(
      &child, command[0], &actions, &attributes, &arguments, environ)
    close(ends[1])
    let output = OutputPipe(ends[0])
    guard code == 0 else {
      throw code == ENOENT
        ? ControlError("this needs \(command[0]); install the package \(package)")
        : ControlError("\(command[0]): \(unsafe String(cString: strerror(code)))")
    }
    running.withLock { [child] in $0 = child }
    let data = output.readAll()
    var status: Int32 = 0
    while unsafe waitpid(child, &status, 0) < 0, errno == EINTR {}
    running.withLock { $0 = 0 }
    guard status == 0 else {
      throw ControlError("\(command[0]) failed; its message is above")
    }
    return data
  }
}

/// The reading end of a pipe.
private struct OutputPipe: ~Copyable {
  private let descriptor: Int32
  init(_ descriptor: Int32) { self.descriptor = descriptor }
  deinit { close(descriptor) }

  func readAll() -> Data {
    var data = Data()
    var part = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      let count = unsafe read(descriptor, &part, part.count)
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { return data }
      data.append(contentsOf: part[..<count])
    }
  }
}

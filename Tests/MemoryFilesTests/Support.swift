import CLinux
import Glibc
import Logging
import Testing

@testable import MemoryFiles

/// A test that starts a process while another looks at a lock would hold that lock for a moment, and the
/// environment belongs to all.
@Suite(.serialized) enum Apart {}

/// A directory that is removed after the test, with what is in it. The keeper in it is ended.
final class Scratch: Sendable {
  let path: String

  /// In `parent`, whose file system the test is about.
  init(in parent: String = "/tmp") {
    var template = Array("\(parent)/hugemem-test.XXXXXX".utf8CString)
    path = unsafe String(cString: mkdtemp(&template))
  }
  deinit {
    if let keeper = try? KeeperConnection(to: path) { endKeeper(keeper.process) }
    _ = unsafe system("rm -rf '\(path)'")
  }

  func path(_ name: String) -> String { path + "/" + name }
}

/// Kills a keeper that this process started. It is waited for: while a child that has ended is not, the
/// testing library does not see that the process of an exit test has ended.
func endKeeper(_ process: Int32) {
  kill(process, SIGKILL)
  waitpid(process, nil, 0)
}

/// The program that keepers are started from; nil if the build has not made it.
let program: String? = {
  // Beside the tests, which the arguments name, wherever the tool runs them from.
  for argument in CommandLine.arguments {
    for end in argument.indices.reversed() where argument[end] == "/" {
      let candidate = argument[..<end] + "/hugemem"
      if unsafe access(String(candidate), X_OK) == 0, !isDirectory(String(candidate)) {
        return String(candidate)
      }
    }
  }
  return nil
}()

func isDirectory(_ path: String) -> Bool {
  var status = stat()
  return unsafe stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
}

let isRoot = geteuid() == 0

/// Runs a command of the shell. Returns whether it succeeded.
@discardableResult
func shell(_ command: String) -> Bool { unsafe system(command) == 0 }

/// Waits until something is so. A test that waits in vain fails by its own expectation.
func eventually(_ condition: () -> Bool) -> Bool {
  for _ in 0..<3000 {
    if condition() { return true }
    usleep(10_000)
  }
  return condition()
}

let log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

extension MemoryFile {
  func put(_ text: String, at offset: Int) {
    let bytes = Array(text.utf8)
    #expect(unsafe pwrite(descriptor, bytes, bytes.count, offset) == bytes.count)
  }
  func get(_ count: Int, at offset: Int) -> String {
    var bytes = [UInt8](repeating: 0, count: count)
    guard unsafe pread(descriptor, &bytes, count, offset) == count else { return "" }
    return String(decoding: bytes, as: UTF8.self)
  }
}

/// The message of the error that something throws.
func failure(_ body: () throws(MemoryFileError) -> Void) -> String {
  do throws(MemoryFileError) {
    try body()
    return "no error"
  } catch {
    return error.description
  }
}

import Foundation

@testable import MemoryPressure

/// The machine's own control groups, for the tests that need a kernel.
enum Machine {
  static let v1 = "/sys/fs/cgroup/memory"
  static let v2 =
    FileManager.default.fileExists(atPath: "/sys/fs/cgroup/cgroup.controllers")
    ? "/sys/fs/cgroup" : "/sys/fs/cgroup/unified"

  /// Why v1's memory controller cannot be tested; nil if it can.
  static let unfitForV1 = unfit(v1, "memory.pressure_level")
  static let unfitForV2 = unfit(v2, "memory.pressure")
  static let unfitForPython: String? =
    FileManager.default.isExecutableFile(atPath: "/usr/bin/env") && run("exec python3 -c ''") == 0
    ? nil : "there is no python3"

  private static func unfit(_ mount: String, _ file: String) -> String? {
    do {
      let group = try TestGroup(in: mount)
      let isThere = FileManager.default.fileExists(atPath: "\(group.path)/\(file)")
      return isThere ? nil : "groups in \(mount) have no \(file)"
    } catch { return "no group can be made in \(mount): \(error)" }
  }

  /// Why the machine accepts no PSI trigger; nil if it accepts one.
  static let unfitForStalls: String? = {
    let trigger = StallTrigger(.some, .milliseconds(150), in: .seconds(2), means: .medium)
    do {
      _ = try StallWatch(.systemStall, "/proc/pressure/memory", trigger, in: .system)
      return nil
    } catch { return "\(error)" }
  }()

  static func run(_ script: String) -> Int32 {
    guard let process = try? start(script) else { return -1 }
    process.waitUntilExit()
    return process.terminationStatus
  }

  static func start(_ script: String) throws -> Process {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    process.arguments = ["-c", script]
    process.standardError = FileHandle.nullDevice
    try process.run()
    return process
  }
}

/// A control group below a mount. It is removed with the last reference.
final class TestGroup: Sendable {
  let name = "pressure-test-\(UUID().uuidString)"
  let path: String

  init(in mount: String) throws {
    path = "\(mount)/\(name)"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
  }

  deinit { _ = remove() }

  /// Removes the group and returns whether it is gone. Its processes must have ended.
  func remove() -> Bool {
    // A process that was killed stays in its group a little longer.
    eventually { unsafe rmdir(path) == 0 || errno == ENOENT }
  }

  func set(_ file: String, _ text: String) throws {
    try Data(text.utf8).write(to: URL(fileURLWithPath: "\(path)/\(file)"))
  }

  /// Starts Python in the group.
  func python(_ script: String) throws -> Process {
    try Machine.start("echo $$ > \(path)/cgroup.procs && exec python3 -c '\(script)'")
  }

  /// The machine's files as a process in this group sees them.
  func tree(_ line: String) throws -> FakeTree {
    let fake = try FakeTree(["/proc/self/cgroup": "\(line)/\(name)\n"])
    try fake.link("/sys", to: "/sys")
    try fake.link("/proc/pressure", to: "/proc/pressure")
    return fake
  }
}

import Foundation

@testable import MemoryPressure

/// A directory with files like those of `/proc` and `/sys`. It is removed with the last reference.
final class FakeTree: Sendable {
  let root: String

  init(_ files: [String: String] = [:]) throws {
    root = FileManager.default.temporaryDirectory.path + "/pressure-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
    for (path, text) in files { try write(path, text) }
  }

  deinit { try? FileManager.default.removeItem(atPath: root) }

  func write(_ path: String, _ text: String) throws {
    let path = root + path
    let folder = (path as NSString).deletingLastPathComponent
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    // Written in place, because the monitor has the file open.
    guard FileManager.default.fileExists(atPath: path) else {
      return try Data(text.utf8).write(to: URL(fileURLWithPath: path))
    }
    let file = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
    try file.write(contentsOf: Data(text.utf8))
    try file.truncate(atOffset: UInt64(text.utf8.count))
    try file.close()
  }

  func link(_ path: String, to target: String) throws {
    let folder = (root + path as NSString).deletingLastPathComponent
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    try FileManager.default.createSymbolicLink(atPath: root + path, withDestinationPath: target)
  }

  func remove(_ path: String) throws { try FileManager.default.removeItem(atPath: root + path) }

  func text(_ path: String) throws -> String {
    try String(decoding: Data(contentsOf: URL(fileURLWithPath: root + path)), as: UTF8.self)
  }

  var tree: FileTree { FileTree(root: root) }
  func tree(_ calls: any SystemCalls) -> FileTree { FileTree(root: root, calls: calls) }
}

/// The files of a v1 group.
func v1(_ path: String, limit: UInt64? = nil, usage: UInt64 = 0, file: UInt64 = 0) -> [String:
  String]
{
  let path = "/sys/fs/cgroup/memory" + path
  return [
    "\(path)/memory.limit_in_bytes": "\(limit ?? 0x7fff_ffff_ffff_f000)\n",
    "\(path)/memory.usage_in_bytes": "\(usage)\n",
    "\(path)/memory.stat": "cache 1\ninactive_file 7\ntotal_cache \(file)\n"
      + "total_inactive_file \(file / 2)\ntotal_active_file \(file - file / 2)\n",
    "\(path)/memory.pressure_level": "", "\(path)/cgroup.event_control": "",
  ]
}

/// The files of a v2 group in a hierarchy that is mounted at `mount`.
func v2(
  _ path: String, max: UInt64? = nil, high: UInt64? = nil, usage: UInt64 = 0, file: UInt64 = 0,
  mount: String = "/sys/fs/cgroup"
) -> [String: String] {
  let path = mount + path
  return [
    "\(path)/memory.max": (max.map { "\($0)" } ?? "max") + "\n",
    "\(path)/memory.high": (high.map { "\($0)" } ?? "max") + "\n",
    "\(path)/memory.current": "\(usage)\n",
    "\(path)/memory.stat": "anon 4096\nfile \(file)\nactive_file \(file / 2)\n"
      + "inactive_file \(file - file / 2)\n",
    "\(path)/memory.pressure": "some avg10=0.00\n",
    "\(path)/memory.events.local": events(),
  ]
}

func events(high: Int = 0, max: Int = 0, oom: Int = 0) -> String {
  "low 0\nhigh \(high)\nmax \(max)\noom \(oom)\noom_kill 0\n"
}

func + (a: [String: String], b: [String: String]) -> [String: String] {
  a.merging(b) { _, new in new }
}

let stalls = ["/proc/pressure/memory": "some avg10=0.00\n"]

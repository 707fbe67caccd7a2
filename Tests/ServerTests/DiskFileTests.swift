import Glibc
import HugeMemory
import Primitives
import Testing

@testable import ControlPlane

/// A directory that is removed after the test.
final class Scratch: Sendable {
  let path: String
  init() {
    var template = Array("/tmp/hugemem-test.XXXXXX".utf8CString)
    path = unsafe String(cString: mkdtemp(&template))
  }
  deinit {
    for name in names { unsafe unlink(path + "/" + name) }
    unsafe rmdir(path)
  }

  /// The names in the directory.
  var names: Set<String> {
    guard let directory = unsafe opendir(path) else { return [] }
    defer { unsafe closedir(directory) }
    var names: Set<String> = []
    while let entry = unsafe readdir(directory) {
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
        unsafe String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
      }
      names.insert(name)
    }
    return names.subtracting([".", ".."])
  }

  /// Makes a file of `size` bytes with pieces at offsets.
  func file(_ name: String, size: Int, _ pieces: [(at: Int, bytes: [UInt8])]) -> String {
    let file = unsafe open(path + "/" + name, O_CREAT | O_WRONLY, 0o600)
    ftruncate(file, size)
    for piece in pieces { unsafe pwrite(file, piece.bytes, piece.bytes.count, piece.at) }
    close(file)
    return path + "/" + name
  }

  /// The size and the allocated bytes of a file.
  func measure(_ name: String) -> (size: Int, allocated: Int) {
    var status = stat()
    unsafe stat(path + "/" + name, &status)
    return (Int(status.st_size), Int(status.st_blocks) * 512)
  }
}

/// 64 MiB without huge frames and without a background, so that memory is counted exactly.
func makeMachineOfSmallPages() throws -> Machine {
  var policy = Policy()
  policy.enabled = .never
  return try Machine(limit: 64 << 20, policy: policy, background: .none)
}

@Suite struct DiskFileTests {
  let scratch = Scratch()
  let machine: Machine

  init() throws { machine = try makeMachineOfSmallPages() }

  private func load(_ path: String) throws -> AddressSpace {
    try DiskFile.load(ImageSource(path: path), into: machine) { _, _ in }.space
  }

  private func save(_ space: AddressSpace, size: UInt64? = nil, _ path: String) throws {
    let file = try ExportFile(path: path)
    try DiskFile.save(space, size: size ?? space.size, to: file.file, name: path) { _, _ in }
    try file.commit()
  }

  @Test func holesAndZeroBlocksStayHoles() throws {
    let ones = [UInt8](repeating: 1, count: 4096)
    let space = try load(
      scratch.file(
        "in", size: 1 << 30,
        [
          (at: 0, bytes: ones), (at: 8 << 20, bytes: [UInt8](repeating: 0, count: 1 << 20)),
          (at: 1 << 29, bytes: ones + [UInt8](repeating: 0, count: 4096) + ones),
        ]))
    #expect(space.size == 1 << 30)
    #expect(space.usage().data == 3 * 4096)
    #expect(try space.load(at: 1 << 29 + 8192, as: UInt8.self) == 1)
  }

  @Test func oddSizeRoundTrips() throws {
    let bytes = (0..<5000).map { UInt8(truncatingIfNeeded: $0 * 7 + 1) }
    let space = try load(scratch.file("in", size: 3_000_001, [(at: 2_995_001, bytes: bytes)]))
    try save(space, size: 3_000_001, scratch.path + "/out")
    let (size, allocated) = scratch.measure("out")
    #expect(size == 3_000_001 && allocated < 1 << 20)
    let again = try load(scratch.path + "/out")
    for index in 0..<5000 {
      #expect(try again.load(at: 2_995_001 + UInt64(index), as: UInt8.self) == bytes[index])
    }
  }

  @Test func wrongFilesAreRefusedByName() {
    let qcow = scratch.file("in", size: 1 << 20, [(at: 0, bytes: [0x51, 0x46, 0x49, 0xfb])])
    for path in [qcow, scratch.path, scratch.path + "/none", scratch.file("out", size: 0, [])] {
      #expect { try load(path) } throws: { "\($0)".contains(path) }
    }
    #expect(machine.memoryUsed == 0)
  }

  @Test func imageLargerThanMemoryLeavesNothing() throws {
    let file = scratch.file(
      "in", size: 80 << 20, [(at: 0, bytes: [UInt8](repeating: 1, count: 80 << 20))])
    #expect { try load(file) } throws: { "\($0)".contains("memory limit") }
    machine.shrink()
    #expect(machine.memoryUsed == 0)
  }

  @Test func exportToAPlaceThatCannotBeLeavesNothing() throws {
    let space = try machine.makeSpace(size: 1 << 20)
    let dangling = scratch.path + "/out"
    unsafe symlink("nowhere", dangling)
    for path in [scratch.path, scratch.path + "/none/out", dangling] {
      #expect { try save(space, path) } throws: {
        "\($0)".contains(path) || "\($0)".contains("none")
      }
    }
    #expect(scratch.names == ["out"])
  }

  @Test func anExportFollowsTheLinkAndKeepsTheMode() throws {
    let target = scratch.file("target", size: 10, [])
    unsafe chmod(target, 0o640)
    unsafe symlink("target", scratch.path + "/out")
    let space = try machine.makeSpace(size: 12345)
    try space.store(UInt8(7), at: 12344)
    try save(space, scratch.path + "/out")
    #expect(scratch.names == ["target", "out"])
    var status = stat()
    unsafe lstat(scratch.path + "/out", &status)
    #expect(status.st_mode & S_IFMT == S_IFLNK)
    unsafe stat(target, &status)
    #expect(status.st_mode & 0o7777 == 0o640 && status.st_size == 12345)
    #expect(try load(target).load(at: 12344, as: UInt8.self) == 7)
  }

  @Test func anExportThatFailsLeavesTheOldFile() throws {
    let old = scratch.file("out", size: 10, [(at: 0, bytes: [1, 2, 3])])
    // An export must not touch a file of this name that it did not make.
    _ = scratch.file("out.partial", size: 5, [])
    let space = try machine.makeSpace(size: 1 << 20)
    try space.store(UInt8(7), at: 0)
    let stop = try #require(StopEvent())
    let stopped = Caller(socket: -1, stop: stop.descriptor)
    stop.signal()
    #expect(throws: ControlError.self) {
      let file = try ExportFile(path: old)
      try DiskFile.save(space, size: 1 << 20, to: file.file, name: old, caller: stopped) { _, _ in }
      try file.commit()
    }
    #expect(scratch.names == ["out", "out.partial"])
    #expect(scratch.measure("out").size == 10 && scratch.measure("out.partial").size == 5)
  }

  @Test func twoExportsToOnePathAreEachWhole() throws {
    let path = scratch.path + "/out"
    let spaces = try (0..<2).map { _ in try machine.makeSpace(size: 1 << 20) }
    for (value, space) in spaces.enumerated() {
      for at in 0..<UInt64(256) { try space.store(UInt8(value + 1), at: at * 4096) }
    }
    race(2) { number in
      for _ in 0..<20 { try? self.save(spaces[number], path) }
    }
    let result = try load(path)
    let first = try result.load(at: 0, as: UInt8.self)
    for at in 0..<UInt64(256) { #expect(try result.load(at: at * 4096, as: UInt8.self) == first) }
    #expect(scratch.names == ["out"])
  }
}

/// Runs `body` on `count` threads at the same time.
func race(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
  let threads = (0..<count).compactMap { number in WorkerThread { body(number) } }
  for thread in threads { thread.join() }
}

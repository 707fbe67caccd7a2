import Glibc
import HugeMemory
import Testing

@testable import ControlPlane

/// A directory that goes with the test.
final class Scratch {
  let path: String
  init() {
    var template = Array("/tmp/hugemem-test.XXXXXX".utf8CString)
    path = unsafe String(cString: mkdtemp(&template))
  }
  deinit {
    for name in ["in", "out", "out.partial", "lock", "nbd.sock", "control.sock"] {
      unsafe unlink(path + "/" + name)
    }
    unsafe rmdir(path)
  }

  /// Writes pieces at offsets into a file of `size` bytes.
  func file(_ name: String, size: Int, _ pieces: [(at: Int, bytes: [UInt8])]) -> String {
    let file = unsafe open(path + "/" + name, O_CREAT | O_WRONLY, 0o600)
    ftruncate(file, size)
    for piece in pieces { unsafe pwrite(file, piece.bytes, piece.bytes.count, piece.at) }
    close(file)
    return path + "/" + name
  }

  /// Size and allocated bytes.
  func measure(_ name: String) -> (size: Int, allocated: Int) {
    var status = stat()
    unsafe stat(path + "/" + name, &status)
    return (Int(status.st_size), Int(status.st_blocks) * 512)
  }
}

@Suite struct DiskFileTests {
  let scratch = Scratch()
  let machine: Machine

  init() throws {
    var policy = Policy()
    policy.enabled = .never
    machine = try Machine(limit: 64 << 20, policy: policy)
  }

  private func load(_ path: String) throws -> AddressSpace {
    try DiskFile.load(path, into: machine) { _, _ in }
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
    var seen: [UInt64] = []
    try DiskFile.save(space, to: scratch.path + "/out") { done, _ in seen.append(done) }
    #expect(seen.last == 3_000_001)
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
    for path in [scratch.path, scratch.path + "/none/out", "/dev/null"] {
      #expect(throws: ControlError.self) { try DiskFile.save(space, to: path) { _, _ in } }
    }
    #expect(scratch.measure("out.partial").size == 0)
  }
}

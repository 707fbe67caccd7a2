import Glibc
import HugeMemory
import Primitives
import Testing

@testable import ControlPlane

@Suite struct StreamTests {
  let scratch = Scratch()
  let machine: Machine

  init() throws { machine = try makeMachineOfSmallPages() }

  /// A thread writes `bytes` into one end of a pipe. Returns the other end.
  private func stream(_ bytes: [UInt8], keepsOpen: Bool = false) throws -> ImageSource {
    var ends: [Int32] = [0, 0]
    unsafe pipe(&ends)
    let writer = ends[1]
    let thread = WorkerThread {
      var rest = bytes[...]
      // Write pieces of an odd size, so that no read is a whole block.
      while !rest.isEmpty {
        let piece = Array(rest.prefix(60_001))
        let count = unsafe write(writer, piece, piece.count)
        guard count > 0 else { break }
        rest = rest.dropFirst(count)
      }
      if !keepsOpen { close(writer) }
    }
    thread?.detach()
    return try ImageSource(OpenFile(ends[0]), name: "pipe")
  }

  private func load(_ source: ImageSource, size: UInt64? = nil, caller: Caller = .none) throws -> (
    space: AddressSpace, size: UInt64
  ) {
    try DiskFile.load(source, size: size, into: machine, caller: caller) { _, _ in }
  }

  @Test func aStreamGivesItsSizeAndItsHoles() throws {
    var bytes = [UInt8](repeating: 0, count: 5_000_001)
    bytes[0] = 1
    bytes[3_000_000] = 2
    bytes[5_000_000] = 3
    let image = try load(stream(bytes))
    #expect(image.size == 5_000_001)
    #expect(image.space.usage().data == 3 * 4096)
    for at in [0, 1, 3_000_000, 5_000_000] {
      #expect(try image.space.load(at: UInt64(at), as: UInt8.self) == bytes[at])
    }
  }

  @Test func aSizeMayBeLargerAndNotSmaller() throws {
    let bytes = [UInt8](repeating: 1, count: 10_000)
    #expect(try load(stream(bytes), size: 1 << 20).size == 1 << 20)
    #expect(try load(stream(bytes), size: 10_000).size == 10_000)
    let file = scratch.file("in", size: 10_000, [(at: 0, bytes: bytes)])
    #expect(try load(ImageSource(path: file), size: 1 << 20).size == 1 << 20)
    for source in [try stream(bytes), try ImageSource(path: file)] {
      #expect { try load(source, size: 9_999) } throws: { "\($0)".contains("--size") }
    }
    #expect { try load(stream([])) } throws: { "\($0)".contains("first byte") }
    machine.shrink()
    #expect(machine.memoryUsed == 0)
  }

  @Test func aFileWithoutAnEndToSeekToIsAStream() throws {
    #expect(try load(ImageSource(path: "/proc/cpuinfo")).size > 100)
  }

  @Test func aFormatIsSeenInAStreamToo() throws {
    #expect { try load(stream([0x51, 0x46, 0x49, 0xfb, 0])) } throws: { "\($0)".contains("qcow2") }
  }

  /// Work that waits for a silent pipe ends when the server stops, and when the client is gone.
  @Test func waitingEndsWithTheServerOrTheClient() throws {
    let stop = try #require(StopEvent())
    var sockets: [Int32] = [0, 0]
    unsafe socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &sockets)
    let (ours, theirs) = (sockets[0], sockets[1])
    let stopping = WorkerThread {
      usleep(50_000)
      stop.signal()
    }
    #expect {
      try load(stream([1], keepsOpen: true), caller: Caller(socket: ours, stop: stop.descriptor))
    } throws: { "\($0)".contains("stopping") }
    let leaving = WorkerThread {
      usleep(50_000)
      close(theirs)
    }
    #expect {
      try load(stream([1], keepsOpen: true), caller: Caller(socket: ours, stop: -1))
    } throws: { "\($0)".contains("client is gone") }
    stopping?.join()
    leaving?.join()
    machine.shrink()
    #expect(machine.memoryUsed == 0)
  }

  /// A client that sends nothing more still waits for its answer.
  @Test func aHalfClosedClientIsNotGone() throws {
    var sockets: [Int32] = [0, 0]
    unsafe socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &sockets)
    shutdown(sockets[1], Int32(SHUT_WR))
    #expect(try load(stream([1]), caller: Caller(socket: sockets[0], stop: -1)).size == 1)
    for socket in sockets { close(socket) }
  }

  @Test func anExportWritesEveryByteOfAStream() throws {
    let space = try machine.makeSpace(size: 3_000_001)
    for at in [UInt64(0), 1_500_000, 3_000_000] { try space.store(UInt8(9), at: at) }
    var ends: [Int32] = [0, 0]
    unsafe pipe(&ends)
    let (reader, writer) = (ends[0], ends[1])
    let thread = WorkerThread { [scratch] in
      let out = unsafe open(scratch.path + "/out", O_CREAT | O_WRONLY, 0o600)
      var buffer = [UInt8](repeating: 0, count: 100_000)
      while true {
        let count = unsafe read(reader, &buffer, buffer.count)
        guard count > 0 else { break }
        unsafe write(out, buffer, count)
      }
      close(out)
    }
    try DiskFile.save(space, size: space.size, to: OpenFile(writer), name: "pipe") { _, _ in }
    thread?.join()
    let again = try load(ImageSource(path: scratch.path + "/out"))
    #expect(again.size == 3_000_001 && again.space.usage().data == 3 * 4096)
    #expect(try again.space.load(at: 3_000_000, as: UInt8.self) == 9)
  }

  /// As in `{ echo head; hugemem export d -; } > file`, and with `>>`.
  @Test func anExportGoesOnWhereAFileIs() throws {
    let space = try machine.makeSpace(size: 1 << 20)
    try space.store(UInt8(9), at: 1 << 19)
    for flags in [O_CREAT | O_RDWR, O_RDWR | O_APPEND] {
      let file = unsafe open(scratch.path + "/out", flags, 0o600)
      if flags & O_APPEND == 0 { unsafe write(file, "head", 4) }
      try DiskFile.save(space, size: 1 << 20, to: OpenFile(file), name: "out") { _, _ in }
    }
    #expect(scratch.measure("out").size == 4 + (2 << 20))
    let whole = try load(ImageSource(path: scratch.path + "/out")).space
    for start: UInt64 in [4, 4 + (1 << 20)] {
      #expect(try whole.load(at: start + (1 << 19), as: UInt8.self) == 9)
    }
  }
}

import Glibc
import HugeMemory
import Testing

@testable import NBDServer

@Suite struct ConnectForkTests {
  private func disks(_ change: (inout ConnectForks) -> Void) throws -> Disks {
    var forks = ConnectForks()
    change(&forks)
    let disks = Disks(machine: try Machine(limit: 64 << 20), connectForks: forks)
    try disks.create("golden", size: 1 << 30)
    return disks
  }

  @Test func switchedOffNoneIsMade() throws {
    let disks = try disks { $0.areAllowed = false }
    for export in ["golden@", "golden@job"] {
      #expect(throws: DiskError.connectForksOff(export)) { try disks.connect(export) }
      #expect(throws: DiskError.connectForksOff(export)) { try disks.describe(export) }
    }
    #expect(disks.list().map(\.name) == ["golden"])
    // A fork that the administrator made is available under both names.
    try disks.fork("golden", names: ["job"])
    #expect(try disks.connect("golden@job").disk.name == "job")
    #expect(try disks.connect("job").disk.name == "job")
  }

  @Test func theirNumberIsLimitedAndThoseThatGoMakeRoom() throws {
    let disks = try disks { $0.limit = 2 }
    let temporary = try disks.connect("golden@").disk.name
    _ = try disks.connect("golden@job")
    _ = try disks.connect("golden@job")
    #expect(throws: DiskError.tooManyConnectForks("golden@", limit: 2)) {
      try disks.connect("golden@")
    }
    #expect(throws: DiskError.tooManyConnectForks("golden@more", limit: 2)) {
      try disks.describe("golden@more")
    }
    #expect(throws: DiskError.notFound("nosuch")) { try disks.connect("nosuch@more") }
    // Forks that the administrator made do not count.
    try disks.fork("golden", names: ["a", "b", "c"])
    disks.disconnect(temporary)
    _ = try disks.connect("golden@more")
    disks.disconnect("more")
    try disks.remove(["more"])
    _ = try disks.connect("golden@again")
  }

  @Test func aClientThatReadsNothingIsCut() throws {
    var timeouts = Timeouts()
    timeouts.send = 1
    let server = try TestServer(timeouts: timeouts)
    let disk = try server.disks.lookup("d").space
    try disk.store(1, at: 0)
    let client = try RawClient(server.diskSocket)
    #expect(client.go("d") == 1)
    for _ in 0..<64 { client.request(0, length: 1 << 20) }
    for _ in 0..<2000 where !server.acceptor.state.withLock({ $0.places.isEmpty }) {
      usleep(10_000)
    }
    #expect(server.acceptor.state.withLock { $0.places.isEmpty })
    #expect(server.lines.containing("took nothing").count == 1)
  }

  @Test func oneConnectionPinsFewHugeFrames() throws {
    let machine = try Machine(limit: 64 << 20)
    let space = try machine.makeSpace(size: 1 << 30)
    let data = [UInt8](repeating: 1, count: 2 << 20)
    for slot in 0..<16 {
      try unsafe data.withUnsafeBytes { try unsafe space.write(at: UInt64(slot) << 21, from: $0) }
    }
    var pins = Pins(machine: machine, capacity: 1024)
    for slot in 0..<16 { try space.pin(at: UInt64(slot) << 21, length: 20 << 10, into: &pins) }
    #expect(pins.hugeHeld == 16)
    pins.release()
    #expect(pins.hugeHeld == 0)
  }
}

import Glibc
import HugeMemory
import Testing

@testable import NBDServer

@Suite struct QuotaConnectionTests {
  static let mib: UInt64 = 1 << 20

  @Test func aForkByConnectingStopsAtItsOriginsQuota() throws {
    let server = try TestServer()
    try server.disks.create("t", size: 1 << 30, limits: DiskLimits(quota: 8 * Self.mib))
    let origin = try RawClient(server.diskSocket)
    let fork = try RawClient(server.diskSocket)
    #expect(origin.go("t") == 1)
    #expect(origin.fill(Self.mib * 4) == 4 * Self.mib)
    #expect(fork.go("t@mine") == 1)
    let taken = fork.fill(64 * Self.mib)
    #expect(taken > 2 * Self.mib && taken < 4 * Self.mib)
    server.disks.machine.settle()
    #expect(server.disks.machine.memoryUsed <= 8 * Self.mib)
    #expect(origin.write(at: 256 * Self.mib, 4096) == 28, "ENOSPC")
    #expect(origin.flushes() && fork.flushes())
  }

  @Test func whatClientsHoldIsBoundedByTheQuota() throws {
    let server = try TestServer()
    try server.disks.create("t", size: 1 << 30, limits: DiskLimits(quota: 16 * Self.mib))
    let writer = try RawClient(server.diskSocket)
    #expect(writer.go("t") == 1)
    // Each round writes data, lets a client ask for it that reads no reply, and discards the data.
    var stalled: [RawClient] = []
    for _ in 0..<6 {
      #expect(writer.fill(12 * Self.mib, step: 2 << 20) == 12 * Self.mib)
      let client = try RawClient(server.diskSocket)
      #expect(client.go("t") == 1)
      for offset in stride(from: 0, to: 12 * Self.mib, by: 64 << 10) {
        client.request(0, offset: offset, length: 64 << 10)
      }
      stalled.append(client)
      usleep(200_000)
      writer.request(4, length: UInt32(12 * Self.mib))
      #expect(writer.take(16).count == 16)
    }
    server.disks.machine.settle()
    #expect(server.disks.machine.memoryUsed <= 4 * Self.mib + 64 << 10, "a quarter of the quota")
    // Clients still get all the data that they asked for, from whichever round.
    for client in stalled {
      let all = 192 * (16 + 64 << 10)
      #expect(client.take(all).count == all)
    }
  }
}

extension RawClient {
  /// Writes, and returns the error of the reply.
  func write(at offset: UInt64, _ length: Int) -> UInt32? {
    request(1, offset: offset, length: UInt32(length))
    send([UInt8](repeating: 7, count: length))
    let reply = take(16)
    return reply.count == 16 ? reply[4..<8].reduce(0) { $0 << 8 | UInt32($1) } : nil
  }

  /// Writes from the start until a write is refused. Returns the bytes written before that.
  func fill(_ most: UInt64, step: Int = 64 << 10) -> UInt64 {
    var done: UInt64 = 0
    while done < most, write(at: done, step) == 0 { done += UInt64(step) }
    return done
  }
}

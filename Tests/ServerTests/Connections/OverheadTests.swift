import Glibc
import HugeMemory
import Testing

@testable import NBDServer

@Suite struct OverheadTests {
  @Test func theBudgetIsDividedAndKept() {
    let overhead = Overhead(bytes: 64 << 20)
    #expect(overhead.connections(secure: false) == 512 && overhead.disks == 5461)
    var taken = 0
    while overhead.take(Overhead.buffer) { taken += 1 }
    #expect(taken == 64 && overhead.buffersUsed == 16 << 20)
    overhead.give(Overhead.buffer)
    #expect(overhead.take(Overhead.buffer) && !overhead.take(Overhead.buffer))
    #expect(Overhead.standard(memory: 64 << 20).bytes == 64 << 20)
    #expect(Overhead.standard(memory: 8 << 30).bytes == 1 << 30)
  }

  @Test func disksStopAtTheirLimit() throws {
    let disks = Disks(machine: try Machine(limit: 64 << 20), limit: 3)
    try disks.create("a", size: 1 << 20)
    try disks.fork("a", names: ["b"])
    #expect(throws: DiskError.tooManyDisks(more: 2, disks: 2, limit: 3)) {
      try disks.fork("a", names: ["c", "d"])
    }
    #expect(disks.list().count == 2)
    _ = try disks.connect("a@c")
    for name in ["a@d", "a@"] {
      #expect(throws: DiskError.tooManyDisks(more: 1, disks: 3, limit: 3)) {
        try disks.connect(name)
      }
    }
    #expect(throws: DiskError.self) { try disks.create("d", size: 1) }
    #expect(throws: DiskError.self) { try disks.checkFree("d") }
    #expect(try disks.connect("a@c").disk.name == "c")
    try disks.remove(["b"])
    try disks.create("d", size: 1)
  }

  @Test func aListIsReadPieceByPieceWhileDisksComeAndGo() throws {
    let disks = Disks(machine: try Machine(limit: 64 << 20))
    try disks.create("d", size: 1 << 20)
    try disks.fork("d", names: (0..<500).map { "f\($0)" })
    var seen: [String] = []
    var last: String?
    while true {
      let part = disks.list(after: last, count: 7)
      seen += part.map(\.name)
      last = part.last?.name
      if part.count < 7 { break }
      // Remove a disk that was seen, and one that was not.
      try disks.remove([seen[seen.count - 1]])
      try? disks.remove(["f99"])
    }
    #expect(seen == seen.sorted() && Set(seen).count == seen.count)
    #expect(seen.count == 500 && !seen.contains("f99"))
  }

  @Test func smallBuffersAnswerAsLargeOnesDo() throws {
    // Leave so little that no connection gets a larger buffer.
    let overhead = Overhead(bytes: 0)
    while overhead.take(Overhead.buffer) {}
    let server = try TestServer(overhead: overhead)
    try server.disks.create("e", size: 16 << 20)
    let client = try RawClient(server.diskSocket)
    #expect(client.go("e") == 1)
    #expect(client.fill(8 << 20, step: 1 << 20) == 8 << 20)
    for length in [1, 4096, 16 << 10, 20 << 10, 64 << 10, 1 << 20, 8 << 20] as [UInt32] {
      for _ in 0..<3 { client.request(0, offset: UInt64(8 << 20) - UInt64(length), length: length) }
      for _ in 0..<3 {
        let reply = client.take(16 + Int(length))
        #expect(reply.count == 16 + Int(length) && reply.dropFirst(16).allSatisfy { $0 == 7 })
      }
    }
    let flush = client.bytes(3)
    client.send(Array(repeatElement(flush, count: 5000).joined()))
    #expect(client.take(5000 * 16).count == 5000 * 16)
  }

  @Test func longControlLinesAndAnswersAreFewAtATime() throws {
    let server = try TestServer(patience: 600)
    try server.disks.fork(
      "d", names: (0..<3000).map { String(repeating: "n", count: 200) + "\($0)" })
    // Four clients do not read their answer, or do not end their line. The next one gets an error.
    var clients: [RawClient] = []
    for number in 0..<4 {
      let client = try RawClient(server.controlSocket)
      client.send(
        number % 2 == 0
          ? Array("{\"list\":{}}\n".utf8) : [UInt8](repeating: 32, count: 100 << 10))
      clients.append(client)
      usleep(200_000)
    }
    let refused = try RawClient(server.controlSocket)
    refused.send(Array("{\"list\":{}}\n".utf8))
    let answer = String(decoding: refused.take(60), as: UTF8.self)
    #expect(answer.contains("failure") && answer.contains("busy"))
    // Short requests still work, and the next client gets a slot that is given back.
    let other = try RawClient(server.controlSocket)
    other.send(Array("{\"limit\":{\"name\":\"d\"}}\n".utf8))
    #expect(other.take(9) == Array("{\"disks\":".utf8))
    clients.removeAll()
    var isListed = false
    for _ in 0..<100 where !isListed {
      let next = try RawClient(server.controlSocket)
      next.send(Array("{\"list\":{}}\n".utf8))
      isListed = next.take(9) == Array("{\"disks\":".utf8)
    }
    #expect(isListed)
  }

  @Test func buffersAreGivenBackAtRest() throws {
    let overhead = Overhead(bytes: 64 << 20)
    let server = try TestServer(overhead: overhead)
    try server.disks.create("e", size: 16 << 20)
    let client = try RawClient(server.diskSocket)
    #expect(client.go("e") == 1)
    #expect(client.fill(1 << 20, step: 1 << 20) == 1 << 20)
    #expect(overhead.buffersUsed > 0)
    for _ in 0..<2000 where overhead.buffersUsed > 0 { usleep(10_000) }
    #expect(overhead.buffersUsed == 0)
    #expect(client.flushes())
  }
}

import Glibc
import Testing

@testable import NBDServer

@Suite struct DeadlineTests {
  @Test func aByteNowAndThenGetsNoLongerThanTheDeadline() throws {
    var timeouts = Timeouts()
    timeouts.negotiation = 1
    let server = try TestServer(timeouts: timeouts)
    let client = try RawClient(server.diskSocket)
    #expect(client.greeted())
    client.send([0, 0, 0, 3])
    // An option of 64 bytes, which would be complete after 32 s.
    client.send(Array("IHAVEOPT".utf8) + [0, 0, 0, 6, 0, 0, 0, 64])
    var sent = 0
    while sent < 64, client.send([0]) {
      sent += 1
      usleep(500_000)
    }
    #expect(sent < 64 && client.isClosed)
  }

  @Test func whoReadsNoListIsCut() throws {
    var timeouts = Timeouts()
    timeouts.negotiation = 1
    let server = try TestServer(timeouts: timeouts)
    let name = String(repeating: "n", count: 240)
    try server.disks.fork("d", names: (0..<5000).map { "\(name)\($0)" })
    let client = try RawClient(server.diskSocket)
    #expect(client.greeted())
    client.send([0, 0, 0, 3])
    client.option(3)
    for _ in 0..<2000 where !server.acceptor.state.withLock({ $0.places.isEmpty }) {
      usleep(10_000)
    }
    #expect(server.acceptor.state.withLock { $0.places.isEmpty })
  }

  @Test func transmissionHasNoDeadline() throws {
    var timeouts = Timeouts()
    timeouts.negotiation = 1
    let server = try TestServer(timeouts: timeouts)
    let client = try RawClient(server.diskSocket)
    #expect(client.go("d") == 1)
    usleep(1_500_000)
    #expect(client.flushes())
  }

  @Test func halfALineHoldsNoControlPlaceForEver() throws {
    let server = try TestServer(patience: 1)
    let half = try RawClient(server.controlSocket)
    half.send(Array("{\"li".utf8))
    let idle = try RawClient(server.controlSocket)
    #expect(half.isClosed)
    // This is longer than the patience, but the client has begun no line.
    usleep(1_500_000)
    idle.send(Array("{\"list\":{}}\n".utf8))
    #expect(idle.take(9).count == 9)
  }
}

import Glibc
import Synchronization
import Testing

@testable import NBDServer

@Suite struct PlacesTests {
  private func limits(disks: Int, control: Int = 2) -> Acceptor.Limits {
    var limits = Acceptor.Limits()
    limits.disks = disks
    limits.control = control
    return limits
  }

  @Test func whoNegotiatesLongestGoesFirst() throws {
    let server = try TestServer(limits: limits(disks: 3))
    let working = try RawClient(server.diskSocket)
    #expect(working.go("d") == 1)
    let first = try RawClient(server.diskSocket)
    #expect(first.greeted())
    let second = try RawClient(server.diskSocket)
    #expect(second.greeted())
    let third = try RawClient(server.diskSocket)
    #expect(third.go("d") == 1, "a place was made for it")
    #expect(first.isClosed)
    #expect(working.flushes() && third.flushes())
    second.send([0, 0, 0, 3])
    second.option(3)
    #expect(second.reply() != nil, "it was not its turn")
  }

  @Test func transmissionsKeepTheirPlaces() throws {
    let server = try TestServer(limits: limits(disks: 2))
    let first = try RawClient(server.diskSocket)
    let second = try RawClient(server.diskSocket)
    #expect(first.go("d") == 1 && second.go("d") == 1)
    for _ in 0..<5 {
      let other = try RawClient(server.diskSocket)
      #expect(other.isClosed)
    }
    #expect(first.flushes() && second.flushes())
  }

  @Test func theControlSocketHasItsOwnAllowance() throws {
    let server = try TestServer(limits: limits(disks: 1))
    let client = try RawClient(server.diskSocket)
    #expect(client.go("d") == 1)
    let administrator = try RawClient(server.controlSocket)
    administrator.send(Array("{\"list\":{}}\n".utf8))
    #expect(administrator.take(9) == Array("{\"disks\":".utf8))
  }

  @Test func idleControlClientsMakeRoom() throws {
    let server = try TestServer(limits: limits(disks: 1, control: 2))
    let first = try RawClient(server.controlSocket)
    let second = try RawClient(server.controlSocket)
    for client in 0..<2 {
      // Only the last request counts, so the first client is the older one.
      let line = Array("{\"list\":{}}\n".utf8)
      if client == 0 { first.send(line) } else { second.send(line) }
      let answer = client == 0 ? first.take(9) : second.take(9)
      #expect(answer.count == 9)
    }
    // The server may take a moment to see that the clients wait.
    var isAnswered = false
    for _ in 0..<1000 where !isAnswered {
      let third = try RawClient(server.controlSocket)
      third.send(Array("{\"list\":{}}\n".utf8))
      isAnswered = third.take(9).count == 9
    }
    #expect(isAnswered && first.isReset)
    second.send(Array("{\"list\":{}}\n".utf8))
    #expect(second.take(9).count == 9)
  }

  @Test func whatIsTurnedAwayIsCountedNotListed() throws {
    let server = try TestServer(limits: limits(disks: 1))
    let working = try RawClient(server.diskSocket)
    #expect(working.go("d") == 1)
    for _ in 0..<200 {
      let other = try RawClient(server.diskSocket)
      #expect(other.isClosed)
    }
    for _ in 0..<2000 where server.lines.count("turned away") < 200 { usleep(10_000) }
    #expect(server.lines.count("turned away") == 200)
    #expect(server.lines.containing("turned away").count < 100)
  }

  @Test func acceptErrorsEndNoListener() throws {
    let failures = Mutex([EPROTO, ENETDOWN, EMFILE, EPERM, EBADF])
    let server = try TestServer { listener in
      if let code = failures.withLock({ $0.popLast() }) {
        errno = code
        return -1
      }
      return Glibc.accept(listener, nil, nil)
    }
    let client = try RawClient(server.diskSocket)
    #expect(client.go("d") == 1)
    for _ in 0..<2000 where server.lines.count("cannot accept") < 5 { usleep(10_000) }
    #expect(server.lines.count("cannot accept") == 5)
  }
}

import ControlPlane
import Foundation
import HTTPAPI
import HugeMemory
import HugememClient
import Logging
import NBDServer
import Testing

/// A server of this process, on a control socket in a directory of its own.
private final class Served {
  let directory: String
  let disks: Disks
  private let acceptor: Acceptor

  init() throws {
    directory = FileManager.default.temporaryDirectory.path + "/hm-\(UInt32.random(in: 0 ... .max))"
    let runtime = RuntimeDirectory(directory)
    _ = try runtime.lock()
    disks = Disks(machine: try Machine(limit: 64 << 20))
    var log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    log.logLevel = .error
    acceptor = Acceptor(log: log)
    let api = API(ControlServer(disks: disks, directory: runtime, log: log), acceptor: acceptor)
    try acceptor.accept(on: Listener.unix(runtime.controlSocket), as: .control) { api.serve($0) }
  }

  deinit {
    acceptor.stop(within: 5000)
    try? FileManager.default.removeItem(atPath: directory)
  }
}

struct ClientTests {
  @Test func disksAndForks() throws {
    let served = try Served()
    let server = HugememServer(directory: served.directory)
    let golden = try server.create("golden", size: 1 << 30, DiskOptions(description: "mine"))
    #expect(golden.size == 1 << 30 && golden.description == "mine" && golden.origin == nil)
    #expect(try server.ensure("golden", size: 1 << 30).name == "golden")
    let forks = try server.fork(
      "golden", as: ["a", "b"], DiskOptions(quota: 1 << 20, readOnly: true))
    #expect(forks.map(\.origin) == ["golden", "golden"] && forks[0].quota == 1 << 20)
    #expect(forks[1].readOnly)
    #expect(try server.ensureFork("golden", as: "a").name == "a")
    #expect(try !server.change("a", readOnly: false).readOnly)
    #expect(try server.reset("a").origin == "golden")
    #expect(try server.disks().map(\.name) == ["a", "b", "golden"])
    try server.remove("b")
    #expect(try server.disks(forksOf: "golden").map(\.name) == ["a"])
  }

  @Test func aLongListComesWhole() throws {
    let served = try Served()
    let server = HugememServer(directory: served.directory)
    _ = try server.create("golden", size: 4096)
    for part in 0..<3 {
      _ = try server.fork("golden", as: (0..<700).map { "f\(part)-\($0)" })
    }
    #expect(try server.disks().count == 2101)
  }

  @Test func problemsHaveACodeAndASentence() throws {
    let served = try Served()
    let server = HugememServer(directory: served.directory)
    let problem = try #require(throws: Problem.self) { try server.disk("no such/disk?") }
    #expect(problem.status == 404 && problem.code == "no-such-disk")
    #expect(problem.description.contains("no such/disk?"))
    #expect(throws: ServerUnreachable.self) {
      try HugememServer(directory: served.directory + "/nothing").disks()
    }
  }

  @Test func aForkForTheTimeOfABlock() throws {
    let served = try Served()
    let server = HugememServer(directory: served.directory)
    _ = try server.create("golden", size: 4096)
    let name = try server.withFork(of: "golden") { try server.disk($0.name).name }
    #expect(name.hasPrefix("golden-") && served.disks.count == 1)
    struct Failure: Error {}
    #expect(throws: Failure.self) { try server.withFork(of: "golden") { _ in throw Failure() } }
    #expect(served.disks.count == 1)
  }

  @Test func eventsFromTheBeginning() throws {
    let served = try Served()
    let server = HugememServer(directory: served.directory)
    _ = try server.create("a", size: 4096)
    _ = try server.fork("a", as: "b")
    try served.disks.rename("b", to: "c")
    var found: [Event] = []
    try server.events(after: 0) { event in
      found.append(event)
      return found.count < 3
    }
    #expect(found.map(\.kind) == ["created", "forked", "renamed"])
    #expect(found.map(\.id) == [1, 2, 3])
    #expect(found[1].origin == "a" && found[2].formerName == "b")
  }

  @Test func callsOfManyThreads() async throws {
    let served = try Served()
    let server = HugememServer(directory: served.directory)
    _ = try server.create("golden", size: 4096)
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<8 {
        group.addTask { for _ in 0..<20 { try server.withFork(of: "golden") { _ in } } }
      }
      try await group.waitForAll()
    }
    #expect(served.disks.count == 1)
  }
}

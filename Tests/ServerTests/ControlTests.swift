import Glibc
import HugeMemory
import Logging
import NBDServer
import Primitives
import Testing

@testable import ControlPlane

@Suite struct ControlTests {
  let scratch = Scratch()
  let server: ControlServer

  init() throws {
    unsafe chmod(scratch.path, 0o700)
    let disks = Disks(machine: try Machine(limit: 64 << 20, background: .none))
    server = ControlServer(
      disks: disks, directory: RuntimeDirectory(scratch.path),
      log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
  }

  private func answer(_ request: ControlRequest) -> ControlResponse {
    server.answer(request) { _, _ in }
  }

  @Test func requestsChangeTheDisks() {
    #expect(answer(.create(name: "a", size: 1 << 20)) == .done)
    #expect(answer(.fork(source: "a", names: ["b", "c"])) == .done)
    #expect(answer(.remove(names: ["a", "c"])) == .done)
    guard case .disks(let disks) = answer(.list) else {
      Issue.record("no list")
      return
    }
    #expect(disks.map(\.name) == ["b"] && disks[0].origin == "a")
  }

  @Test func knobsAreShownAndSetAllOrNone() {
    guard case .knobs(let before) = answer(.tune([])) else {
      Issue.record("no knobs")
      return
    }
    #expect(before.count == Knob.allCases.count)
    let good = KnobValue(name: "khugepaged/max_ptes_none", value: "17")
    let bad = KnobValue(name: "enabled", value: "sometimes")
    guard case .failure(let message) = answer(.tune([good, bad])) else {
      Issue.record("not refused")
      return
    }
    #expect(message.contains("sometimes") && message.contains("madvise"))
    #expect(answer(.tune([])) == .knobs(before))
    guard case .knobs(let after) = answer(.tune([good])) else {
      Issue.record("no knobs")
      return
    }
    #expect(after.contains(good))
    for knob in after {
      #expect(answer(.tune([knob])) == .knobs(after), "\(knob) is a value that it shows")
    }
    guard case .failure = answer(.tune([KnobValue(name: "none", value: "1")])) else {
      Issue.record("not refused")
      return
    }
  }

  @Test func statusSaysWhatMemoryIsUsedFor() throws {
    _ = answer(.create(name: "a", size: 1 << 30))
    let space = try server.disks.lookup("a").space
    try space.store(UInt64(1), at: 0)
    #expect(try space.load(at: 1 << 29, as: UInt64.self) == 0)
    var server = server
    server.pressure = { ("critical", "a file") }
    guard case .status(let status) = server.answer(.stat(name: nil), progress: { _, _ in }) else {
      Issue.record("no status")
      return
    }
    #expect(status.zeroPageReferences > 0 && status.memoryUsed > 2 << 20)
    #expect(status.memoryByKind.reduce(0) { $0 + $1.bytes } == status.memoryUsed)
    #expect(status.memoryByKind.contains(ServerStatus.Kind(name: "zero page", bytes: 2 << 20)))
    // Resident memory includes the frames in use and the program.
    #expect(status.residentMemory > 1 << 20 && status.residentMemory < 1 << 40)
    #expect(status.pressure == "critical" && status.pressureCause == "a file")
  }

  @Test func failuresNameWhatIsWrong() {
    let refused: [(ControlRequest, String)] = [
      (.create(name: "a@", size: 1), "a@"), (.create(name: "a", size: 0), "size"),
      (.fork(source: "none", names: ["b"]), "none"), (.reset(name: "none"), "none"),
      (.stat(name: "none"), "none"), (.exportFile(name: "none", path: "/tmp/x"), "none"),
      (.importFile(name: "a", path: "/none/file"), "/none/file"),
    ]
    for (request, part) in refused {
      guard case .failure(let message) = answer(request) else {
        Issue.record("\(request) was not refused")
        continue
      }
      #expect(message.contains(part))
    }
    #expect(answer(.list) == .disks([]))
  }

  @Test func clientAndServerTalkOverTheSocket() throws {
    let listener = try Listener.unix(server.directory.controlSocket)
    let acceptor = Acceptor(log: server.log)
    try acceptor.accept(on: listener, as: .control) { [server] in server.serve($0) }
    defer { acceptor.stop() }
    let client = LineClient(server.directory)
    #expect(try client.ask(.create(name: "a", size: 1 << 40)) == .done)
    #expect { try client.ask(.create(name: "a", size: 1)) } throws: { "\($0)".contains("exists") }
    var last: (UInt64, UInt64)?
    // Send only a path, as older clients do, and then a file that the client opened.
    _ = try client.ask(.exportFile(name: "a", path: scratch.path + "/out")) { last = ($0, $1) }
    #expect(last?.0 == 1 << 40 && scratch.measure("out").allocated == 0)
    let file = try ExportFile(path: scratch.path + "/in")
    _ = try client.ask(.exportFile(name: "a", path: "mine"), with: file.file)
    try file.commit()
    #expect(scratch.measure("in").size == 1 << 40 && scratch.measure("in").allocated == 0)
    let image = try ImageSource(path: scratch.path + "/in")
    _ = try client.ask(.importFile(name: "b", path: "mine"), with: image.file)
    #expect(try server.disks.lookup("b").size == 1 << 40)
  }

  @Test func thousandsOfDisksAreListed() throws {
    let listener = try Listener.unix(server.directory.controlSocket)
    let acceptor = Acceptor(log: server.log)
    try acceptor.accept(on: listener, as: .control) { [server] in server.serve($0) }
    defer { acceptor.stop() }
    let client = LineClient(server.directory)
    _ = try client.ask(.create(name: "a", size: 1 << 40))
    let names = (0..<10_000).map { "a-name-of-some-length-\($0)" }
    _ = try client.ask(.fork(source: "a", names: names))
    guard case .disks(let disks) = try client.ask(.list) else {
      Issue.record("no list")
      return
    }
    #expect(disks.count == 10_001)
    // A request that is too long is refused, and not ignored.
    #expect { try client.ask(.remove(names: names + names + names + names)) } throws: {
      "\($0)".contains("bytes")
    }
  }

  @Test func garbageOnTheSocketIsAnsweredAndCut() throws {
    var sockets: [Int32] = [0, 0]
    unsafe socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &sockets)
    let ours = sockets[0]
    let theirs = sockets[1]
    let thread = WorkerThread { [server] in
      server.serve(Place(uncounted: theirs))
      close(theirs)
    }
    unsafe Glibc.send(ours, "what?\n", 6, 0)
    var channel = Channel(socket: ours, lineLimit: 1 << 20)
    guard case .failure(let message) = try channel.receive(ControlResponse.self) else {
      Issue.record("no failure")
      return
    }
    #expect(message.contains("not understood") && !message.contains("DecodingError"))
    #expect(try channel.receive(ControlResponse.self) == nil)
    thread?.join()
    close(ours)
  }

  @Test func withoutAServerTheClientSaysWhatToDo() {
    #expect { try LineClient(RuntimeDirectory(scratch.path)).ask(.list) } throws: {
      "\($0)".contains("hugemem serve") && "\($0)".contains(scratch.path)
    }
  }
}

@Suite struct RuntimeDirectoryTests {
  let scratch = Scratch()

  @Test func oneServerADirectory() throws {
    unsafe chmod(scratch.path, 0o700)
    let directory = RuntimeDirectory(scratch.path)
    let lock = try directory.lock()
    #expect { try directory.lock() } throws: { "\($0)".contains("another hugemem") }
    close(lock)
    close(try directory.lock())
  }

  @Test func openDirectoryIsRefused() {
    unsafe chmod(scratch.path, 0o755)
    #expect { try RuntimeDirectory(scratch.path).lock() } throws: { "\($0)".contains("0700") }
  }

  @Test func fileIsNoDirectory() {
    let file = scratch.file("in", size: 1, [])
    #expect { try RuntimeDirectory(file).lock() } throws: { "\($0)".contains("--directory") }
  }

  @Test func uriEscapesThePath() {
    #expect(
      RuntimeDirectory("/a b/%&/").uri("disk")
        == "nbd+unix:///disk?socket=/a%20b/%25%26/nbd.sock")
  }
}

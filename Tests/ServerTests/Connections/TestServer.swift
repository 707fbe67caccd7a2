import Glibc
import HugeMemory
import Logging
import Synchronization
import Testing

@testable import ControlPlane
@testable import NBDServer

/// A server in this process, with its log.
final class TestServer {
  let disks: Disks
  let acceptor: Acceptor
  let control: ControlServer
  let lines = Lines()
  private let scratch = Scratch()
  let diskSocket: String
  let controlSocket: String

  init(
    limits: Acceptor.Limits = .init(), timeouts: Timeouts = .init(), patience: Int = 30,
    overhead: Overhead? = nil,
    acceptOne: @escaping @Sendable (Int32) -> Int32 = { Glibc.accept($0, nil, nil) }
  ) throws {
    var log = Logger(label: "test") { [lines] _ in lines }
    log.logLevel = .debug
    disks = Disks(machine: try Machine(limit: 64 << 20))
    try disks.create("d", size: 1 << 20)
    acceptor = Acceptor(log: log, limits: limits, acceptOne: acceptOne)
    diskSocket = scratch.path + "/nbd.sock"
    controlSocket = scratch.path + "/control.sock"
    var control = ControlServer(disks: disks, directory: RuntimeDirectory(scratch.path), log: log)
    control.patience = patience
    self.control = control
    let server = Server(
      disks: disks, log: log, acceptor: acceptor, timeouts: timeouts, overhead: overhead)
    try server.serve(Listener.unix(diskSocket))
    try acceptor.accept(on: Listener.unix(controlSocket), as: .control) {
      [control] in control.serve($0)
    }
  }

  deinit { acceptor.stop() }
}

/// A log handler that keeps all lines.
struct Lines: LogHandler {
  private final class Storage: Sendable { let lines = Mutex<[String]>([]) }
  private let storage = Storage()
  var logLevel = Logger.Level.debug
  var metadata: Logger.Metadata = [:]
  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    let more = (event.metadata ?? [:]).sorted { $0.key < $1.key }.map { " \($0.key)=\($0.value)" }
    storage.lines.withLock { $0.append("\(event.message)\(more.joined())") }
  }

  func containing(_ text: String) -> [String] {
    storage.lines.withLock { $0.filter { $0.contains(text) } }
  }

  /// The sum of the counts in the lines that contain `text`.
  func count(_ text: String) -> Int {
    containing(text).compactMap { $0.firstMatch(of: #/count=([0-9]+)/#).flatMap { Int($0.1) } }
      .reduce(0, +)
  }
}

/// A client that sends exactly the bytes that a test gives it. Every wait ends after 20 s.
final class RawClient {
  let socket: Int32

  init(_ path: String) throws {
    socket = try unsafe Socket.unix(path) { unsafe Glibc.connect($0, $1, $2) }
  }
  deinit { close(socket) }

  @discardableResult
  func send(_ bytes: [UInt8]) -> Bool {
    unsafe bytes.withUnsafeBytes { unsafe Socket.send($0, to: socket, by: Deadline(seconds: 20)) }
  }

  /// Receives `count` bytes, or fewer at the end of the connection.
  func take(_ count: Int) -> [UInt8] {
    let deadline = Deadline(seconds: 20)
    var bytes = [UInt8](repeating: 0, count: count)
    var done = 0
    while done < count {
      let part = unsafe bytes.withUnsafeMutableBytes {
        unsafe Socket.receive(
          into: UnsafeMutableRawBufferPointer(rebasing: $0[done...]), from: socket, by: deadline)
      }
      guard part > 0 else { break }
      done += part
    }
    return Array(bytes.prefix(done))
  }

  /// Whether the server has closed the connection and sent nothing before.
  var isClosed: Bool { take(1).isEmpty }

  /// Whether the server has closed the connection. Drops what it sent before.
  var isReset: Bool { take(1 << 20).count < 1 << 20 }

  /// Receives the greeting. Returns false if there is none.
  func greeted() -> Bool { take(18).count == 18 }

  func option(_ code: UInt8, _ payload: [UInt8] = []) {
    send(
      Array("IHAVEOPT".utf8) + [0, 0, 0, code] + number(UInt32(payload.count)) + payload)
  }

  /// Receives the next option reply.
  func reply() -> (type: UInt32, payload: [UInt8])? {
    let head = take(20)
    guard head.count == 20 else { return nil }
    func number(_ at: Int) -> UInt32 { head[at..<at + 4].reduce(0) { $0 << 8 | UInt32($1) } }
    return (number(12), take(Int(number(16))))
  }

  /// Begins transmission on a disk. Returns the type of the reply that ended the negotiation.
  @discardableResult
  func go(_ name: String) -> UInt32? {
    guard greeted() else { return nil }
    send([0, 0, 0, 3])
    option(7, number(UInt32(name.utf8.count)) + Array(name.utf8) + [0, 0])
    while let (type, _) = reply() {
      if type == 1 || type >> 31 == 1 { return type }
    }
    return nil
  }

  func request(_ command: UInt8, offset: UInt64 = 0, length: UInt32 = 0) {
    send(bytes(command, offset, length))
  }

  func bytes(_ command: UInt8, _ offset: UInt64 = 0, _ length: UInt32 = 0) -> [UInt8] {
    [0x25, 0x60, 0x95, 0x13, 0, 0, 0, command] + number(UInt64(7)) + number(offset)
      + number(length)
  }

  /// Sends a FLUSH, and returns whether it is answered.
  func flushes() -> Bool {
    request(3)
    return take(16).count == 16
  }
}

func number<Number: FixedWidthInteger>(_ number: Number) -> [UInt8] {
  unsafe withUnsafeBytes(of: number.bigEndian) { unsafe Array($0) }
}

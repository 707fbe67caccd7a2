import FoundationEssentials
import Glibc
internal import NIOCore
internal import NIOHTTP1
import Synchronization

/// A running server, by the HTTP API on its control socket.
///
/// Each call blocks its thread until the server has answered, which takes some tens of microseconds. All
/// calls throw `Problem` if the server refuses, and `ServerUnreachable` if there is none.
///
/// - Thread safety: you may call every method on any thread. Calls take turns on one connection.
public final class HugememServer: Sendable {
  /// The server's directory.
  public let directory: String
  private let connection = Mutex<Connection?>(nil)

  /// A server by its directory; by default the user's own, `$XDG_RUNTIME_DIR/hugemem` or
  /// `/tmp/hugemem-UID`. Connects with the first call.
  public init(directory: String? = nil) {
    let runtime = unsafe getenv("XDG_RUNTIME_DIR").map { unsafe String(cString: $0) } ?? ""
    self.directory =
      directory ?? (runtime.isEmpty ? "/tmp/hugemem-\(getuid())" : runtime + "/hugemem")
  }

  // MARK: Disks

  /// Makes an empty disk of `size` bytes.
  public func create(
    _ name: String, size: UInt64, _ options: DiskOptions = DiskOptions()
  ) throws -> Disk {
    try ask(.POST, "/disks", NewDisk(name: name, size: size, options: options))
  }

  /// Makes an empty disk unless it is there with this size. You can repeat it.
  public func ensure(
    _ name: String, size: UInt64, _ options: DiskOptions = DiskOptions()
  ) throws -> Disk {
    try ask(.PUT, "/disks/\(Self.escaped(name))", NewDisk(size: size, options: options))
  }

  /// Forks a disk, after all its completed writes.
  public func fork(
    _ source: String, as name: String, _ options: DiskOptions = DiskOptions()
  ) throws -> Disk {
    try fork(source, as: [name], options)[0]
  }

  /// Forks a disk once for each name, all at the same moment, or not at all. At most 1,000 names.
  public func fork(
    _ source: String, as names: [String], _ options: DiskOptions = DiskOptions()
  ) throws -> [Disk] {
    let answer: List = try ask(
      .POST, "/disks/\(Self.escaped(source))/forks", NewForks(names: names, options: options))
    return answer.disks
  }

  /// Forks a disk unless this fork of it is there. You can repeat it.
  public func ensureFork(_ source: String, as name: String) throws -> Disk {
    try ask(.PUT, "/disks/\(Self.escaped(source))/forks/\(Self.escaped(name))", Nothing())
  }

  /// Forks a disk for the time of `body`, and removes the fork afterwards, also after an error.
  public func withFork<Result>(
    of source: String, _ options: DiskOptions = DiskOptions(), _ body: (Disk) throws -> Result
  ) throws -> Result {
    let suffix = String(UInt64.random(in: .min ... .max), radix: 36)
    let disk = try fork(source, as: "\(source.prefix(200))-\(suffix)", options)
    let result: Result
    do { result = try body(disk) } catch {
      try? removeWaiting(disk.name)
      throw error
    }
    try removeWaiting(disk.name)
    return result
  }

  /// The disk of a name. Throws a `Problem` with the code `no-such-disk` if there is none.
  public func disk(_ name: String) throws -> Disk {
    try ask(.GET, "/disks/\(Self.escaped(name))", Nothing())
  }

  /// All disks in the order of their names, or only the forks of one.
  public func disks(forksOf origin: String? = nil) throws -> [Disk] {
    var found: [Disk] = []
    var after: String? = ""
    while let name = after {
      let filter = origin.map { "&origin=\(Self.escaped($0))" } ?? ""
      let list: List = try ask(.GET, "/disks?after=\(Self.escaped(name))\(filter)", Nothing())
      found += list.disks
      after = list.next
    }
    return found
  }

  /// Returns a fork to the contents that it was made with. Its clients stay connected.
  @discardableResult
  public func reset(_ name: String) throws -> Disk {
    try ask(.POST, "/disks/\(Self.escaped(name))/reset", Nothing())
  }

  /// Protects a disk from writes, or describes it. Nil keeps what there is.
  @discardableResult
  public func change(
    _ name: String, readOnly: Bool? = nil, description: String? = nil
  ) throws -> Disk {
    try ask(
      .PATCH, "/disks/\(Self.escaped(name))",
      DiskOptions(readOnly: readOnly, description: description))
  }

  /// Removes a disk that no client uses. Its forks stay.
  public func remove(_ name: String) throws {
    let _: Empty = try ask(.DELETE, "/disks/\(Self.escaped(name))", Nothing())
  }

  /// A client that has just disconnected may still be there for a moment.
  private func removeWaiting(_ name: String) throws {
    for attempt in 0... {
      do { return try remove(name) } catch let problem as Problem {
        if problem.code == "no-such-disk" { return }
        guard problem.code == "disk-in-use", attempt < 500 else { throw problem }
        usleep(10_000)
      }
    }
  }

  // MARK: Events

  /// Calls `body` for everything that happens to disks from now on, or after the event `after`, until it
  /// returns false. Has a connection of its own.
  public func events(after: UInt64? = nil, _ body: (Event) throws -> Bool) throws {
    let connection = try Connection(path: directory + "/control.sock")
    let query = after.map { "?after=\($0)" } ?? ""
    try connection.send(.GET, "/v1/events\(query)")
    var parser = EventParser()
    while true {
      switch try connection.next() {
      case .head(let head):
        guard head.status == .ok else {
          throw Problem(status: Int(head.status.code), code: "failed", detail: "no events")
        }
      case .body(let part):
        for event in try parser.take(part) where try !body(event) { return }
      case .end: throw ServerUnreachable("the server has ended")
      }
    }
  }

  // MARK: Requests

  private struct Nothing: Encodable {}
  private struct Empty: Decodable {}
  private struct List: Decodable {
    let disks: [Disk]
    let next: String?
  }

  private struct NewDisk: Encodable {
    var name: String?
    let size: UInt64
    let options: DiskOptions

    enum CodingKeys: CodingKey { case name, size }
    func encode(to encoder: any Encoder) throws {
      try options.encode(to: encoder)
      var fields = encoder.container(keyedBy: CodingKeys.self)
      try fields.encodeIfPresent(name, forKey: .name)
      try fields.encode(size, forKey: .size)
    }
  }

  private struct NewForks: Encodable {
    let names: [String]
    let options: DiskOptions

    enum CodingKeys: CodingKey { case names }
    func encode(to encoder: any Encoder) throws {
      try options.encode(to: encoder)
      var fields = encoder.container(keyedBy: CodingKeys.self)
      try fields.encode(names, forKey: .names)
    }
  }

  private func ask<Answer: Decodable>(
    _ method: HTTPMethod, _ path: String, _ body: some Encodable
  ) throws -> Answer {
    let bytes =
      body is Nothing ? ByteBuffer() : ByteBuffer(bytes: try JSONEncoder().encode(body))
    let (status, answer) = try connection.withLock { connection in
      // The server may have cut an idle connection in favour of a newer client.
      if let open = connection, let answer = try? open.ask(method, "/v1" + path, bytes) {
        return answer
      }
      let open = try Connection(path: directory + "/control.sock")
      connection = open
      return try open.ask(method, "/v1" + path, bytes)
    }
    let data = Data(answer.readableBytesView)
    guard status < 400 else {
      throw try JSONDecoder().decode(Problem.self, from: data)
    }
    return try JSONDecoder().decode(Answer.self, from: data.isEmpty ? Data("{}".utf8) : data)
  }

  /// Percent-encodes what is not allowed in a segment of a path.
  package static func escaped(_ text: String) -> String {
    text.utf8.reduce(into: "") { escaped, byte in
      let scalar = Unicode.Scalar(byte)
      let isPlain =
        "a"..."z" ~= scalar || "A"..."Z" ~= scalar || "0"..."9" ~= scalar
        || "._-~".unicodeScalars.contains(scalar)
      let digits = String(byte, radix: 16, uppercase: true)
      escaped += isPlain ? String(Character(scalar)) : "%" + (byte < 16 ? "0" : "") + digits
    }
  }
}

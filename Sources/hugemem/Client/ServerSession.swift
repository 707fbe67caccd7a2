import ControlPlane
import FoundationEssentials
import Glibc
import HugememClient
import NBDServer
import NIOCore
import NIOHTTP1

/// A connection of a command to a server, over its HTTP API.
final class ServerSession {
  private let directory: RuntimeDirectory
  private let connection: Connection

  init(_ directory: RuntimeDirectory) throws(ControlError) {
    try directory.checkLength()
    self.directory = directory
    do { connection = try Connection(path: directory.controlSocket) } catch {
      if unsafe access(directory.controlSocket, W_OK) != 0, errno == EACCES {
        throw ControlError(
          "\(directory.path): belongs to another user, and only that user and root may use its server"
        )
      }
      throw ControlError(
        "no server answers in \(directory.path); start one with `hugemem serve`, or name its "
          + "--directory")
    }
  }

  /// Sends a request, with an open file if it needs one, and returns the answer. Throws the server's
  /// message if the request fails. `changes` gets ranges that come before the end of the answer.
  func ask(
    _ request: ControlRequest, with file: OpenFile? = nil,
    progress: DiskFile.Progress = { _, _ in }, changes: ([ChangedRange]) -> Void = { _ in }
  ) throws(ControlError) -> ControlResponse {
    try explaining { try carryOut(request, file, progress, changes) }
  }

  /// Runs a call, and makes the server's message of what it throws.
  private func explaining<Result>(_ call: () throws -> Result) throws(ControlError) -> Result {
    do { return try call() } catch let error as ControlError {
      throw error
    } catch let problem as Problem {
      throw ControlError(problem.detail)
    } catch is ServerUnreachable {
      throw ControlError("the server ended, or closed the control socket, before it answered")
    } catch is ServerIsSilent {
      throw ControlError(
        "the server in \(directory.path) has not answered for \(Self.patience) seconds; it may be stopped (`kill -CONT`), or the machine is short of memory or busy"
      )
    } catch is HTTPParserError {
      throw ControlError("the server in \(directory.path) is older than this program")
    } catch {
      throw ControlError("the server's answer is not understood: \(error)")
    }
  }

  /// How a checkpoint ended. Sizes are in bytes.
  struct Checkpointed: Decodable {
    let generation: Int
    let disks: Int
    let written: UInt64
    let incremental: Bool
  }

  /// Saves disks to an open directory; all of them if `names` is nil.
  func checkpoint(
    _ names: [String]?, to directory: OpenFile, name: String, progress: DiskFile.Progress
  ) throws(ControlError) -> Checkpointed {
    try explaining {
      try work("/checkpoints", Fields(("path", name), ("disks", names)), directory, progress) { _ in
      }
    }
  }

  /// How long a server may take to begin its answer to a question, in seconds.
  static let patience = 20

  /// Makes the server hand its disks over, by a socket whose other end the caller has.
  func takeOver(_ socket: OpenFile) throws(ControlError) {
    try explaining {
      let _: [String: String] = try call(
        .POST, "/takeover", with: socket, patience: Self.patience)
    }
  }

  /// A call whose answer is one document. An open file can go with it.
  func call<Answer: Decodable>(
    _ method: HTTPMethod, _ path: String, _ body: (some Encodable)? = nil as Fields?,
    with file: OpenFile? = nil, patience: Int? = nil
  ) throws -> Answer {
    // Changes may have to wait for what they are about.
    connection.setPatience(patience ?? (method == .GET ? Self.patience : 0))
    let bytes = try body.map { ByteBuffer(bytes: try JSONEncoder().encode($0)) } ?? ByteBuffer()
    let (status, answer) = try connection.ask(
      method, "/v1" + path, bytes, file: file?.descriptor ?? -1)
    return try Self.decode(status, Data(answer.readableBytesView))
  }

  private static func decode<Answer: Decodable>(_ status: Int, _ data: Data) throws -> Answer {
    guard status < 400 else { throw try problem(data) }
    return try JSONDecoder().decode(Answer.self, from: data.isEmpty ? Data("{}".utf8) : data)
  }

  private static func problem(_ data: Data) throws -> Problem {
    try JSONDecoder().decode(Problem.self, from: data)
  }

  private struct Progress: Decodable { let done, total: UInt64 }
  private struct Ranges: Decodable { let ranges: [ChangedRange] }

  /// Long work, whose progress comes as events before its end.
  func work<End: Decodable>(
    _ path: String, _ body: Fields, _ file: OpenFile?, _ progress: DiskFile.Progress,
    _ changes: ([ChangedRange]) -> Void
  ) throws -> End {
    connection.setPatience(0)
    try connection.send(
      .POST, "/v1" + path, ByteBuffer(bytes: try JSONEncoder().encode(body)),
      ["accept": "text/event-stream"], file: file?.descriptor ?? -1)
    var parser = EventParser()
    var status = 200
    var refusal = Data()
    var result: Result<End, Problem>?
    while true {
      switch try connection.next() {
      case .head(let head): status = Int(head.status.code)
      case .body(let bytes):
        guard status < 400 else {
          refusal += bytes.readableBytesView
          continue
        }
        for message in parser.messages(bytes) {
          let data = Data((message["data"] ?? "").utf8)
          let decoder = JSONDecoder()
          switch message["event"] {
          case "progress":
            let now = try decoder.decode(Progress.self, from: data)
            progress(now.done, now.total)
          case "changes": changes(try decoder.decode(Ranges.self, from: data).ranges)
          case "done": result = .success(try decoder.decode(End.self, from: data))
          case "failed": result = .failure(try Self.problem(data))
          default: break
          }
        }
      case .end:
        guard status < 400 else { throw try Self.problem(refusal) }
        guard let result else { throw ServerUnreachable("the answer has no end") }
        return try result.get()
      }
    }
  }
}

/// The fields of a request's body. Those without a value are left out.
struct Fields: Encodable {
  private var fields: [(String, any Encodable)] = []

  init(_ fields: (String, (any Encodable)?)...) {
    for (name, value) in fields {
      if let value { self.fields.append((name, value)) }
    }
  }

  /// With the limits and options of a disk that is being made.
  func adding(_ limits: DiskLimits?, _ options: NBDServer.DiskOptions?) -> Fields {
    var all = self
    all.fields +=
      Fields(
        ("quota", limits?.quota), ("reserve", limits?.reserve), ("readOnly", options?.isReadOnly),
        ("description", options?.description)
      ).fields
    return all
  }

  private struct Key: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }
    init(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
  }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: Key.self)
    for (name, value) in fields {
      try container.encode(value, forKey: Key(stringValue: name))
    }
  }
}

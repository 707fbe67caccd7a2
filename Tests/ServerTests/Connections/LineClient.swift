import Glibc
import NBDServer

@testable import ControlPlane

/// Sends requests as lines of JSON, as command lines did before the HTTP API.
struct LineClient: Sendable {
  let directory: RuntimeDirectory

  init(_ directory: RuntimeDirectory) { self.directory = directory }

  /// Sends a request, with an open file if it needs one, and returns the answer. Throws the
  /// server's message if the request fails.
  func ask(
    _ request: ControlRequest, with file: OpenFile? = nil, progress: DiskFile.Progress = { _, _ in }
  ) throws(ControlError) -> ControlResponse {
    var session = try session()
    return try session.ask(request, with: file, progress: progress)
  }

  /// Connects to the server, for several requests. What the server holds for them goes with the
  /// session.
  func session() throws(ControlError) -> LineSession {
    LineSession(socket: try connect())
  }

  private func connect() throws(ControlError) -> Int32 {
    try directory.checkLength()
    do {
      return try unsafe Socket.unix(directory.controlSocket) { unsafe Glibc.connect($0, $1, $2) }
    } catch {
      throw ControlError(
        "no server answers in \(directory.path); start one with `hugemem serve`, or name its "
          + "--directory")
    }
  }
}

/// A connection to a server.
struct LineSession: ~Copyable {
  private var channel: Channel
  private let socket: OpenFile

  init(socket: Int32) {
    channel = Channel(socket: socket, lineLimit: Channel.responseLimit)
    self.socket = OpenFile(socket)
  }

  /// As `LineClient.ask`. `changes` gets ranges that come before the end of the answer.
  mutating func ask(
    _ request: ControlRequest, with file: OpenFile? = nil,
    progress: DiskFile.Progress = { _, _ in }, changes: ([ChangedRange]) -> Void = { _ in }
  ) throws(ControlError) -> ControlResponse {
    try channel.send(request, with: file)
    while let response = try channel.receive(ControlResponse.self) {
      switch response {
      case .progress(let done, let total): progress(done, total)
      case .changes(let ranges): changes(ranges)
      case .failure(let message): throw ControlError(message)
      default: return response
      }
    }
    throw ControlError("the server ended, or closed the control socket, before it answered")
  }
}

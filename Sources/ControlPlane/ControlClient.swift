import Glibc
import NBDServer

/// Sends requests to a running server.
public struct ControlClient: Sendable {
  let directory: RuntimeDirectory

  public init(_ directory: RuntimeDirectory) { self.directory = directory }

  /// Sends a request, with an open file if it needs one, and returns the answer. Throws the
  /// server's message if the request fails.
  public func ask(
    _ request: ControlRequest, with file: OpenFile? = nil, progress: DiskFile.Progress = { _, _ in }
  ) throws(ControlError) -> ControlResponse {
    let socket = try connect()
    defer { close(socket) }
    var channel = Channel(socket: socket, lineLimit: Channel.responseLimit)
    try channel.send(request, with: file)
    while let response = try channel.receive(ControlResponse.self) {
      switch response {
      case .progress(let done, let total): progress(done, total)
      case .failure(let message): throw ControlError(message)
      default: return response
      }
    }
    throw ControlError("the server ended, or closed the control socket, before it answered")
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

import Glibc

/// Asks a running server.
public struct ControlClient: Sendable {
  let directory: RuntimeDirectory

  public init(_ directory: RuntimeDirectory) { self.directory = directory }

  /// Sends a request and returns its answer; a failure is thrown with the server's message.
  public func ask(
    _ request: ControlRequest, progress: DiskFile.Progress = { _, _ in }
  ) throws(ControlError) -> ControlResponse {
    let socket = try connect()
    defer { close(socket) }
    var channel = Channel(socket: socket, lineLimit: Channel.responseLimit)
    try channel.send(request)
    while let response = try channel.receive(ControlResponse.self) {
      switch response {
      case .progress(let done, let total): progress(done, total)
      case .failure(let message): throw ControlError(message)
      default: return response
      }
    }
    throw ControlError("the server closed the control socket without an answer")
  }

  private func connect() throws(ControlError) -> Int32 {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let path = directory.controlSocket
    guard path.utf8.count < MemoryLayout.size(ofValue: address.sun_path) else {
      throw ControlError("--directory \(directory.path): too long for a socket's path")
    }
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path.utf8) }
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    guard descriptor >= 0 else { throw ControlError("no socket could be made") }
    let connected = unsafe withUnsafePointer(to: &address) {
      unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    guard connected == 0 else {
      close(descriptor)
      throw ControlError(
        "no server answers in \(directory.path); start one with `hugemem serve`, or name its "
          + "--directory")
    }
    return descriptor
  }
}

public import Logging

/// The NBD server: hands the disks of a registry to the clients of listening sockets.
public struct Server: Sendable {
  public let disks: Disks
  private let log: Logger
  private let acceptor: Acceptor

  public init(disks: Disks, log: Logger, acceptor: Acceptor) {
    self.disks = disks
    self.log = log
    self.acceptor = acceptor
  }

  public func serve(_ listener: Listener) throws(SocketError) {
    try acceptor.accept(on: listener) { [disks, log] socket in
      Connection(socket: socket, disks: disks, log: log).serve()
    }
  }
}

public import Logging
public import NBD
public import TLS

/// The NBD server. It serves the disks of a registry to the clients of listening sockets.
public struct Server: Sendable {
  public let disks: Disks
  private let log: Logger
  private let acceptor: Acceptor
  private let timeouts: Timeouts
  private let overhead: Overhead

  public init(
    disks: Disks, log: Logger, acceptor: Acceptor, timeouts: Timeouts = Timeouts(),
    overhead: Overhead? = nil
  ) {
    self.overhead = overhead ?? .standard(memory: disks.machine.limit)
    self.disks = disks
    self.log = log
    self.acceptor = acceptor
    self.timeouts = timeouts
  }

  public func serve(
    _ listener: Listener, security: Security = .none
  ) throws(SocketError) {
    try acceptor.accept(on: listener, as: .disks) { [disks, log, timeouts, overhead] place in
      var connection = Connection(
        place: place, disks: disks, log: log, timeouts: timeouts, overhead: overhead,
        security: security)
      connection.serve()
    }
  }
}

/// Whether and how the clients of a listener use TLS.
public struct Security: Sendable {
  package let mode: TLSMode
  package let context: TLSContext?

  public static let none = Security(mode: .off, context: nil)

  private init(mode: TLSMode, context: TLSContext?) {
    (self.mode, self.context) = (mode, context)
  }

  public init(_ mode: TLSMode, _ context: TLSContext) {
    self.init(mode: mode, context: context)
  }
}

/// How long a client may keep the server waiting, in seconds. 0 means for ever.
public struct Timeouts: Sendable {
  /// For the whole negotiation, from the greeting to the start of transmission.
  public var negotiation = 10
  /// For a reply. The connection ends when its client has taken nothing of the reply for so long.
  public var send = 60
  /// The longest time that a connection looks for its next request before it sleeps, in nanoseconds; 0
  /// means that it sleeps at once.
  public var busyPoll: UInt64 = 100_000
  public init() {}
}

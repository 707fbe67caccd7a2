import Primitives

/// A connection's place among those of its kind. It is on offer from the start: when places get
/// short, whoever has offered one for the longest is cut in favour of a newer client.
public struct Place: Sendable {
  public let socket: Int32
  /// Nil for a socket that nobody counts.
  private let acceptor: Acceptor?

  init(socket: Int32, acceptor: Acceptor) {
    self.socket = socket
    self.acceptor = acceptor
  }

  /// A socket that no acceptor knows of, in tests and tools.
  public init(uncounted socket: Int32) {
    self.socket = socket
    acceptor = nil
  }

  /// The connection does something: it keeps its place, however short places get.
  public func keep() { offer(since: nil) }

  /// The connection waits for its client.
  public func offer() { offer(since: monotonicTime()) }

  private func offer(since: UInt64?) {
    acceptor?.state.withLock { $0.places.offer(socket, since: since) }
  }
}

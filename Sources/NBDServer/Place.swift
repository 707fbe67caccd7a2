import Primitives

/// The place of a connection among those of its kind. The connection offers it from the start. When
/// places get short, the connection that has offered its place the longest is cut in favour of a
/// newer client.
public struct Place: Sendable {
  public let socket: Int32
  /// Nil for a socket that no acceptor counts.
  private let acceptor: Acceptor?

  init(socket: Int32, acceptor: Acceptor) {
    self.socket = socket
    self.acceptor = acceptor
  }

  /// A socket that no acceptor counts, for tests and tools.
  public init(uncounted socket: Int32) {
    self.socket = socket
    acceptor = nil
  }

  /// Keeps the place, however short places get. Call this when the connection begins work.
  public func keep() { offer(since: nil) }

  /// Offers the place. Call this when the connection waits for its client.
  public func offer() { offer(since: monotonicTime()) }

  private func offer(since: UInt64?) {
    acceptor?.state.withLock { $0.places.offer(socket, since: since) }
  }
}

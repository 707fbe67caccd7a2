import Glibc
public import Logging
import Primitives
import Synchronization

/// Accepts connections on listening sockets and gives each a thread, until `stop`.
///
/// Threads cost a small stack, of which an idle connection touches a few pages; hundreds are
/// cheap, and beyond the limit clients are turned away rather than everything slowed down.
public final class Acceptor: Sendable {
  public static let connectionLimit = 4096

  private let log: Logger
  private let state = Mutex(State())
  private struct State {
    var isStopped = false
    var listeners: [Int32] = []
    /// How many accepting threads still run.
    var accepting = 0
    var connections: Set<Int32> = []
  }

  public init(log: Logger) { self.log = log }

  /// Serves clients of `listener`: `serve` is called with each one's socket, which it leaves
  /// open, on a thread of the client's own.
  public func accept(
    on listener: Listener, _ serve: @escaping @Sendable (Int32) -> Void
  ) throws(SocketError) {
    state.withLock {
      $0.listeners.append(listener.descriptor)
      $0.accepting += 1
    }
    let thread = WorkerThread {
      self.run(listener, serve)
      self.state.withLock { $0.accepting -= 1 }
    }
    guard let thread else {
      let code = errno
      state.withLock { $0.accepting -= 1 }
      throw SocketError("no thread for \(listener.address)", errno: code)
    }
    thread.detach()
  }

  private func run(_ listener: Listener, _ serve: @escaping @Sendable (Int32) -> Void) {
    while true {
      let socket = Glibc.accept(listener.descriptor, nil, nil)
      if socket < 0 {
        let code = errno
        if state.withLock({ $0.isStopped }) { return }
        if code == EINTR || code == ECONNABORTED { continue }
        // Any error may pass, so a listener goes on for as long as the server runs.
        log.error("cannot accept", metadata: ["errno": "\(code)"])
        usleep(100_000)
        continue
      }
      if listener.port != nil {
        var on: Int32 = 1
        unsafe setsockopt(socket, Int32(IPPROTO_TCP), TCP_NODELAY, &on, 4)
        unsafe setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, 4)
      }
      let admitted = state.withLock { state in
        guard !state.isStopped, state.connections.count < Self.connectionLimit else { return false }
        state.connections.insert(socket)
        return true
      }
      guard admitted else {
        log.warning("turned away: too many connections")
        close(socket)
        continue
      }
      let thread = WorkerThread {
        serve(socket)
        self.end(socket)
      }
      if let thread {
        thread.detach()
      } else {
        log.error("no thread for a connection")
        end(socket)
      }
    }
  }

  private func end(_ socket: Int32) {
    // Closed under the lock, so that `stop` never shuts down a reused descriptor.
    state.withLock {
      $0.connections.remove(socket)
      _ = close(socket)
    }
  }

  /// Stops accepting, shuts every connection down and waits at most `milliseconds` for their threads.
  /// Returns whether all have ended; those that have not go on with their work.
  @discardableResult
  public func stop(within milliseconds: Int = .max) -> Bool {
    state.withLock { state in
      state.isStopped = true
      for listener in state.listeners { shutdown(listener, Int32(SHUT_RDWR)) }
      for connection in state.connections { shutdown(connection, Int32(SHUT_RDWR)) }
    }
    var waited = 0
    while state.withLock({ !$0.connections.isEmpty || $0.accepting > 0 }) {
      guard waited < milliseconds else { return false }
      usleep(1000)
      waited += 1
    }
    state.withLock { for listener in $0.listeners { close(listener) } }
    return true
  }
}

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
    var accepting: [WorkerThread] = []
    var connections: Set<Int32> = []
  }

  public init(log: Logger) { self.log = log }

  /// Serves clients of `listener`: `serve` is called with each one's socket, which it leaves
  /// open, on a thread of the client's own.
  public func accept(
    on listener: Listener, _ serve: @escaping @Sendable (Int32) -> Void
  ) throws(SocketError) {
    let thread = WorkerThread { self.run(listener, serve) }
    guard let thread else { throw SocketError("no thread for \(listener.address)", errno: errno) }
    state.withLock {
      $0.listeners.append(listener.descriptor)
      $0.accepting.append(thread)
    }
  }

  private func run(_ listener: Listener, _ serve: @escaping @Sendable (Int32) -> Void) {
    while true {
      let socket = Glibc.accept(listener.descriptor, nil, nil)
      if socket < 0 {
        if errno == EINTR || errno == ECONNABORTED { continue }
        if errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM {
          log.error("cannot accept", metadata: ["errno": "\(errno)"])
          usleep(100_000)
          continue
        }
        return  // shut down
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

  /// Stops accepting, cuts every connection and returns when all their threads are done.
  public func stop() {
    let accepting = state.withLock { state in
      state.isStopped = true
      for listener in state.listeners { shutdown(listener, Int32(SHUT_RDWR)) }
      for connection in state.connections { shutdown(connection, Int32(SHUT_RDWR)) }
      return state.accepting
    }
    for thread in accepting { thread.join() }
    while state.withLock({ !$0.connections.isEmpty }) { usleep(1000) }
    state.withLock { for listener in $0.listeners { close(listener) } }
  }
}

import Glibc
public import Logging
import Primitives
import Synchronization

/// Accepts connections on listening sockets and gives each a thread, until `stop`.
///
/// A thread costs a small stack, and an idle connection touches only a few pages of it, so hundreds
/// of threads are cheap. At the limit, a new client replaces the one that has been in negotiation
/// the longest. If none is in negotiation, the new client is turned away.
public final class Acceptor: Sendable {
  /// The most connections of each kind.
  public struct Limits: Sendable {
    public var disks = 4096
    public var control = 256
    public var http = 64
    /// How many connections of each kind may exist above the limit: connections that were cut, but
    /// whose threads have not ended yet.
    public static let slack = 64
    public init() {}

    subscript(kind: ConnectionKind) -> Int {
      switch kind {
      case .disks: disks
      case .control: control
      case .http: http
      }
    }
  }

  /// How long a new client waits for connections that were cut to end, in milliseconds.
  private static let waitForPlace = 1000

  private let log: Logger
  private let limits: Limits
  /// `accept(2)`. Tests replace it by one that fails.
  private let acceptOne: @Sendable (Int32) -> Int32
  let state = Mutex(State())
  struct State {
    var isStopped = false
    /// The listening sockets are another process's from now on.
    var isHandedOver = false
    var listeners: [Int32] = []
    /// The number of accepting threads that still run.
    var accepting = 0
    var places = Places()
    var occasional: [ConnectionKind: OccasionalLog] = [:]
  }

  public convenience init(log: Logger, limits: Limits = Limits()) {
    self.init(log: log, limits: limits) { Glibc.accept($0, nil, nil) }
  }

  init(log: Logger, limits: Limits, acceptOne: @escaping @Sendable (Int32) -> Int32) {
    self.log = log
    self.limits = limits
    self.acceptOne = acceptOne
  }

  /// Accepts clients of `listener`. Calls `serve` with the place of each client, on a thread of its
  /// own. `serve` must leave the socket open.
  public func accept(
    on listener: Listener, as kind: ConnectionKind, _ serve: @escaping @Sendable (Place) -> Void
  ) throws(SocketError) {
    // A shared socket is not shut down at the end, so its thread ends with the process.
    let counted = listener.isShared ? 0 : 1
    state.withLock {
      if !listener.isShared { $0.listeners.append(listener.descriptor) }
      $0.accepting += counted
    }
    let thread = WorkerThread {
      self.run(listener, kind, serve)
      self.state.withLock { $0.accepting -= counted }
    }
    guard let thread else {
      let code = errno
      state.withLock { $0.accepting -= counted }
      throw SocketError("no thread for \(listener.address)", errno: code)
    }
    thread.detach()
  }

  private func run(
    _ listener: Listener, _ kind: ConnectionKind, _ serve: @escaping @Sendable (Place) -> Void
  ) {
    while true {
      logDue(kind)
      guard isReady(listener, kind) else { continue }
      // A client that comes to a shared socket now is for the next server.
      let isOver = state.withLock { $0.isHandedOver || listener.isShared && $0.isStopped }
      if isOver { return }
      let socket = acceptOne(listener.descriptor)
      if socket < 0 {
        let code = errno
        if state.withLock({ $0.isStopped }) { return }
        if code == EINTR || code == ECONNABORTED { continue }
        // Any error may be temporary, so a listener goes on until the server stops.
        note("cannot accept: \(unsafe String(cString: strerror(code)))", kind)
        // If descriptors or memory are short, a client in negotiation is cut to free some.
        let isShort = code == EMFILE || code == ENFILE || code == ENOBUFS || code == ENOMEM
        let cut = isShort ? state.withLock { $0.places.cutOldest(nil) } : nil
        usleep(cut == nil ? 100_000 : 1000)
        continue
      }
      if case .tcp = listener.kind {
        var on: Int32 = 1
        unsafe setsockopt(socket, Int32(IPPROTO_TCP), TCP_NODELAY, &on, 4)
        unsafe setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, 4)
      }
      guard admit(socket, kind) else {
        close(socket)
        continue
      }
      let thread = WorkerThread {
        serve(Place(socket: socket, acceptor: self))
        self.end(socket)
      }
      if let thread {
        thread.detach()
      } else {
        note("turned away: no thread for a connection", kind)
        end(socket)
        _ = state.withLock { $0.places.cutOldest(nil) }
      }
    }
  }

  /// Waits for a client, or until a log line is due. Returns whether the listener is ready.
  private func isReady(_ listener: Listener, _ kind: ConnectionKind) -> Bool {
    let due = state.withLock { $0.occasional[kind]?.due(now: monotonicTime()) }
    var wait = pollfd(fd: listener.descriptor, events: Int16(POLLIN), revents: 0)
    return unsafe poll(&wait, 1, due ?? -1) > 0
  }

  private func admit(_ socket: Int32, _ kind: ConnectionKind) -> Bool {
    for _ in 0..<Self.waitForPlace {
      let (admission, isStopped) = state.withLock { state in
        state.isStopped
          ? (.full, true)
          : (
            state.places.admit(socket, kind, limit: limits[kind], now: monotonicTime()), false
          )
      }
      switch admission {
      case .admitted: return true
      case .inPlaceOf:
        note(
          kind == .disks
            ? "cut in favour of a newer client: still in negotiation"
            : "cut in favour of a newer client: idle", kind)
        return true
      case .wait: usleep(1000)
      case .full:
        if !isStopped { note("turned away: all \(limits[kind]) places are taken", kind) }
        return false
      }
    }
    note("turned away: connections that were cut are not gone yet", kind)
    return false
  }

  /// How many connections of a kind there are.
  public func count(_ kind: ConnectionKind) -> Int {
    state.withLock { $0.places.count(kind) }
  }

  /// How many there may be.
  public func limit(_ kind: ConnectionKind) -> Int { limits[kind] }

  private func note(_ what: String, _ kind: ConnectionKind) {
    state.withLock { $0.occasional[kind, default: OccasionalLog()].note(what) }
  }

  private func logDue(_ kind: ConnectionKind) {
    let due = state.withLock {
      $0.occasional[kind, default: OccasionalLog()].take(now: monotonicTime())
    }
    for (what, count) in due {
      log.warning("\(what)", metadata: ["clients": "\(kind)", "count": "\(count)"])
    }
  }

  private func end(_ socket: Int32) {
    // Close the socket under the lock, so that no thread shuts down a descriptor that is reused.
    state.withLock {
      $0.places.leave(socket)
      _ = close(socket)
    }
  }

  /// Stops accepting, cuts every connection, and waits for their threads for at most
  /// `milliseconds`. Returns whether all threads have ended. The others continue their work.
  @discardableResult
  public func stop(within milliseconds: Int = .max) -> Bool {
    state.withLock { state in
      state.isStopped = true
      for listener in state.listeners { shutdown(listener, Int32(SHUT_RDWR)) }
      for connection in state.places.sockets { shutdown(connection, Int32(SHUT_RDWR)) }
    }
    var waited = 0
    while state.withLock({ !$0.places.isEmpty || $0.accepting > 0 }) {
      guard waited < milliseconds else { return false }
      usleep(1000)
      waited += 1
    }
    state.withLock { for listener in $0.listeners { close(listener) } }
    return true
  }
}

import Glibc
public import Logging
import Primitives
import Synchronization

/// Accepts connections on listening sockets and gives each a thread, until `stop`.
///
/// Threads cost a small stack, of which an idle connection touches a few pages; hundreds are
/// cheap. Beyond the limit a new client takes the place of the one that has negotiated for the
/// longest; if none negotiates, it is turned away.
public final class Acceptor: Sendable {
  /// How many connections there may be of each kind.
  public struct Limits: Sendable {
    public var disks = 4096
    public var control = 256
    /// Those that were cut and whose threads are not gone yet come on top, of each kind.
    public static let slack = 64
    public init() {}

    subscript(kind: ConnectionKind) -> Int {
      switch kind {
      case .disks: disks
      case .control: control
      }
    }
  }

  /// Milliseconds that a new client waits for those that were cut to be gone.
  private static let waitForPlace = 1000

  private let log: Logger
  private let limits: Limits
  /// `accept(2)`; tests let it fail.
  private let acceptOne: @Sendable (Int32) -> Int32
  let state = Mutex(State())
  struct State {
    var isStopped = false
    var listeners: [Int32] = []
    /// How many accepting threads still run.
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

  /// Serves clients of `listener`: `serve` is called with each one's place, on a thread of the
  /// client's own, and leaves the socket open.
  public func accept(
    on listener: Listener, as kind: ConnectionKind, _ serve: @escaping @Sendable (Place) -> Void
  ) throws(SocketError) {
    state.withLock {
      $0.listeners.append(listener.descriptor)
      $0.accepting += 1
    }
    let thread = WorkerThread {
      self.run(listener, kind, serve)
      self.state.withLock { $0.accepting -= 1 }
    }
    guard let thread else {
      let code = errno
      state.withLock { $0.accepting -= 1 }
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
      let socket = acceptOne(listener.descriptor)
      if socket < 0 {
        let code = errno
        if state.withLock({ $0.isStopped }) { return }
        if code == EINTR || code == ECONNABORTED { continue }
        // Any error may pass, so a listener goes on for as long as the server runs.
        note("cannot accept: \(unsafe String(cString: strerror(code)))", kind)
        // Whoever only negotiates has some of what is short.
        let isShort = code == EMFILE || code == ENFILE || code == ENOBUFS || code == ENOMEM
        let cut = isShort ? state.withLock { $0.places.cutOldest(nil) } : nil
        usleep(cut == nil ? 100_000 : 1000)
        continue
      }
      if listener.port != nil {
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

  /// Waits for a client, or until something is to be logged.
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
            : "cut in favour of a newer client: idle on the control socket", kind)
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
    // Closed under the lock, so that nobody shuts down a reused descriptor.
    state.withLock {
      $0.places.leave(socket)
      _ = close(socket)
    }
  }

  /// Stops accepting, cuts every connection and waits for their threads, but no longer than so many
  /// milliseconds. Returns whether all are done; those that are not go on with what they do.
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

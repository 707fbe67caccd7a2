import Glibc
import Synchronization

/// Listening sockets that are open already, since the server before this one has handed them over.
public final class OpenListeners: Sendable {
  private let listeners: Mutex<[Listener]>
  /// (C) The descriptors of all.
  private let given: Set<Int32>

  public init(_ listeners: [Listener] = []) {
    self.listeners = Mutex(listeners)
    given = Set(listeners.map(\.descriptor))
  }

  /// Whether a listener is one of these.
  public func hasGiven(_ listener: Listener) -> Bool { given.contains(listener.descriptor) }

  /// Takes one out.
  func take(where isWanted: (Listener) -> Bool) -> Listener? {
    listeners.withLock { all in all.firstIndex(where: isWanted).map { all.remove(at: $0) } }
  }

  /// Closes those that nobody took.
  public func closeRest() {
    let rest = listeners.withLock { all in
      defer { all = [] }
      return all
    }
    for listener in rest {
      if listener.kind == .unix { unsafe unlink(listener.address) }
      close(listener.descriptor)
    }
  }
}

import Glibc

extension Acceptor {
  /// Leaves the listening sockets to another process that has them too, and ends every connection after
  /// the requests that have come. Waits for that at most `milliseconds`. Clients that come meanwhile are
  /// for the other process.
  public func handOver(within milliseconds: Int) {
    state.withLock { state in
      (state.isStopped, state.isHandedOver) = (true, true)
      for connection in state.places.sockets { shutdown(connection, Int32(SHUT_RD)) }
    }
    var waited = 0
    while waited < milliseconds, state.withLock({ !$0.places.isEmpty }) {
      usleep(500)
      waited += 1
    }
  }
}

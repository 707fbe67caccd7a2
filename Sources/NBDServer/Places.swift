import Glibc

/// What a connection is for. Each kind has an allowance of its own, so that no number of clients
/// keeps the administrator out.
public enum ConnectionKind: Sendable, CaseIterable {
  case disks
  case control
}

/// Who is connected, and who goes first when places get short: whoever has offered its place for the
/// longest. A client in negotiation offers it, and so does an idle one of the control socket; one in
/// transmission never does.
///
/// A connection that was cut still has its thread for a moment. Those count too, up to `slack` above
/// the allowance, so that the threads are bounded whatever clients do.
struct Places {
  static let slack = Acceptor.Limits.slack

  private struct Occupant {
    let kind: ConnectionKind
    /// Since when the place is on offer, on the monotonic clock.
    var offered: UInt64?
    var isLeaving = false
  }
  private struct Count {
    var present = 0
    var leaving = 0
  }
  enum Admission: Equatable {
    case admitted
    /// As `admitted`: this socket was shut down for it.
    case inPlaceOf(Int32)
    /// Ask again when some that were cut are gone.
    case wait
    /// Every place is taken by a connection that keeps it.
    case full
  }

  private var occupants: [Int32: Occupant] = [:]
  private var counts: [ConnectionKind: Count] = [:]

  var isEmpty: Bool { occupants.isEmpty }
  var sockets: some Sequence<Int32> { occupants.keys }

  /// Takes a place for a new connection, which offers it from the start.
  mutating func admit(
    _ socket: Int32, _ kind: ConnectionKind, limit: Int, now: UInt64
  ) -> Admission {
    let count = counts[kind, default: Count()]
    guard count.present < limit + Self.slack else { return .wait }
    var admission = Admission.admitted
    if count.present - count.leaving >= limit {
      guard let cut = cutOldest(kind) else { return count.leaving > 0 ? .wait : .full }
      admission = .inPlaceOf(cut)
    }
    occupants[socket] = Occupant(kind: kind, offered: now)
    counts[kind, default: Count()].present += 1
    return admission
  }

  /// Shuts down the connection that has offered its place for the longest; of any kind with nil.
  mutating func cutOldest(_ kind: ConnectionKind?) -> Int32? {
    var oldest: (socket: Int32, since: UInt64)?
    for (socket, occupant) in occupants where kind == nil || occupant.kind == kind {
      guard !occupant.isLeaving, let since = occupant.offered else { continue }
      if oldest == nil || since < oldest!.since { oldest = (socket, since) }
    }
    guard let socket = oldest?.socket, let kind = occupants[socket]?.kind else { return nil }
    occupants[socket]?.isLeaving = true
    counts[kind, default: Count()].leaving += 1
    shutdown(socket, Int32(SHUT_RDWR))
    return socket
  }

  /// Offers a place from now on, or with nil keeps it.
  mutating func offer(_ socket: Int32, since: UInt64?) { occupants[socket]?.offered = since }

  mutating func leave(_ socket: Int32) {
    guard let occupant = occupants.removeValue(forKey: socket) else { return }
    counts[occupant.kind, default: Count()].present -= 1
    if occupant.isLeaving { counts[occupant.kind, default: Count()].leaving -= 1 }
  }
}

import Glibc

/// What a connection is for. Each kind has a limit of its own, so that no number of clients keeps
/// the administrator out.
public enum ConnectionKind: Sendable, CaseIterable {
  case disks
  case control
  /// HTTP over TCP, which more people can reach than the control socket.
  case http
}

/// The connections, and which of them to cut when places get short: the one that has offered its
/// place the longest. A client in negotiation offers its place, and so does an idle client of the
/// control socket. A client in transmission never does.
///
/// A connection that was cut still has its thread for a moment. Such connections count too, up to
/// `slack` above the limit. So the number of threads is bounded, whatever clients do.
struct Places {
  static let slack = Acceptor.Limits.slack

  private struct Occupant {
    let kind: ConnectionKind
    /// When the connection offered its place, on the monotonic clock; nil if it keeps the place.
    var offered: UInt64?
    var isLeaving = false
  }
  private struct Count {
    var present = 0
    var leaving = 0
  }
  enum Admission: Equatable {
    case admitted
    /// Admitted; this socket was shut down to make room.
    case inPlaceOf(Int32)
    /// Ask again later: connections that were cut are not gone yet.
    case wait
    /// Every place is taken by a connection that keeps it.
    case full
  }

  private var occupants: [Int32: Occupant] = [:]
  private var counts: [ConnectionKind: Count] = [:]

  func count(_ kind: ConnectionKind) -> Int { counts[kind]?.present ?? 0 }
  var isEmpty: Bool { occupants.isEmpty }
  var sockets: some Sequence<Int32> { occupants.keys }

  /// Takes a place for a new connection. The connection offers it from the start.
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

  /// Shuts down the connection of a kind (nil: of any kind) that has offered its place the longest.
  /// Returns its socket, or nil if no connection offers its place.
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

  /// Offers a place since the given time, or keeps it if that is nil.
  mutating func offer(_ socket: Int32, since: UInt64?) { occupants[socket]?.offered = since }

  mutating func leave(_ socket: Int32) {
    guard let occupant = occupants.removeValue(forKey: socket) else { return }
    counts[occupant.kind, default: Count()].present -= 1
    if occupant.isLeaving { counts[occupant.kind, default: Count()].leaving -= 1 }
  }
}

import CLinux
import Glibc
import Logging
import NBD
import TLS

/// Serves one client on its own thread, from the greeting to the end of the connection.
struct Connection {
  /// Seconds without a request after which a connection gives its buffers back.
  static let idleAfter = 1

  let place: Place
  let disks: Disks
  let log: Logger
  let timeouts: Timeouts
  let overhead: Overhead
  let security: Security
  /// TLS, once the client has begun it.
  private var tls: TLSSession?
  /// Who the client is, as far as it has proved that.
  private var identity: Identity

  init(
    place: Place, disks: Disks, log: Logger, timeouts: Timeouts, overhead: Overhead,
    security: Security
  ) {
    (self.place, self.disks, self.log, self.timeouts) = (place, disks, log, timeouts)
    (self.overhead, self.security) = (overhead, security)
    identity = Socket.user(of: place.socket).map { .user($0) } ?? .anonymous
  }

  private var socket: Int32 { place.socket }

  /// Returns when the client is gone. Does not close the socket.
  mutating func serve() {
    defer { tls?.close() }
    // For top, ps and perf.
    unsafe hm_name_thread("connection")
    // One deadline for the whole negotiation. A client that sends a byte now and then gets no more
    // time.
    let deadline = Deadline(seconds: timeouts.negotiation)
    guard send(Handshake.greeting, by: deadline) else { return }
    var handshake = Handshake(tls: security.mode)
    var received: [UInt8] = []
    var input = received[...]
    var connected: Disk?
    var listed: String?
    defer { if let connected { disks.disconnect(connected, as: identity) } }
    var action = Handshake.Action.receive
    while true {
      switch action {
      case .receive:
        received = Array(input)
        guard receive(&received, by: deadline) else { return }
        input = received[...]
        action = handshake.step(&input)
      case .send(let bytes):
        guard send(bytes, by: deadline) else { return }
        action = handshake.step(&input)
      case .list:
        listed = nil
        action = list(&handshake, after: &listed)
      case .sendAndList(let bytes):
        guard send(bytes, by: deadline) else { return }
        action = list(&handshake, after: &listed)
      case .resolve(let name, let connect):
        do {
          if connect {
            let (disk, export) = try disks.connect(name, as: identity)
            connected = disk
            action = handshake.resolved(.success(export))
          } else {
            action = handshake.resolved(.success(try disks.describe(name, to: identity)))
          }
        } catch {
          log.notice(
            "refused",
            metadata: ["export": "\(name)", "client": "\(identity)", "reason": "\(error)"])
          action = handshake.resolved(.failure(Self.refusal(error)))
        }
      case .startTLS(let bytes):
        guard input.isEmpty, send(bytes, by: deadline), startTLS(by: deadline) else { return }
        handshake.secured()
        action = .receive
      case .transmit(let bytes, let session):
        // Keep the place before the client learns that it is in transmission.
        place.keep()
        guard let disk = connected, send(bytes, by: deadline) else { return }
        tls?.endNegotiation()
        log.debug(
          "connected",
          metadata: [
            "disk": "\(disk.name)", "client": "\(identity)", "session": "\(session)",
            "encryption": "\(tls?.summary ?? "none")",
          ])
        setTimeout(SO_RCVTIMEO, seconds: Self.idleAfter)
        setTimeout(SO_SNDTIMEO, seconds: timeouts.send)
        // A client sends no request before it has the answer to its last option, so no input may be
        // left.
        guard input.isEmpty else { return }
        if transmit(disk, session) {
          log.notice(
            "cut: the client took nothing of its replies",
            metadata: ["disk": "\(disk.name)", "seconds": "\(timeouts.send)"])
        } else {
          log.debug("disconnected", metadata: ["disk": "\(disk.name)"])
        }
        return
      case .close(let bytes):
        _ = send(bytes, by: deadline)
        return
      }
    }
  }

  /// Begins TLS. Returns false if that fails; the connection then ends.
  private mutating func startTLS(by deadline: Deadline) -> Bool {
    guard let credentials = security.context?.credentials else { return false }
    do throws(TLSError) {
      let session = try TLSSession(socket: socket, credentials: credentials) { [socket] events in
        deadline.wait(for: socket, events)
      }
      tls = session
      switch try session.peer() {
      // It is still the process that the Unix socket tells of, if this is one.
      case .anonymous: break
      case .certificate(let name): identity = .certificate(name)
      case .key(let user): identity = .key(user)
      }
      return true
    } catch {
      log.notice("refused", metadata: ["client": "\(identity)", "reason": "\(error)"])
      return false
    }
  }

  /// Answers with the next names of a LIST. It takes few at a time, so that the answer needs little
  /// memory even if there are many disks and the client does not read.
  private func list(_ handshake: inout Handshake, after name: inout String?) -> Handshake.Action {
    let access = disks.access
    let disks = disks.list(after: name, count: Self.listed)
    name = disks.last?.name
    return handshake.listed(
      disks.filter {
        !$0.isTemporary && !$0.isHeld && access.rights(identity, $0).contains(.read)
      }.map { ($0.name, $0.description) },
      isLast: disks.count < Self.listed)
  }
  private static let listed = 32

  /// A function apart from the negotiation, so that the strings and arrays of that are gone by now.
  /// Returns whether the client was cut because it did not read.
  @inline(never)
  private func transmit(_ disk: Disk, _ session: Session) -> Bool {
    let grant = disks.access.grant(identity, disk)
    defer { disks.access.end(grant) }
    var transmission = Transmission(
      socket: socket, tls: tls, disk: disk, grant: grant,
      account: disks.access.account(identity), session: session,
      late: disks.late, machine: disks.machine, overhead: overhead, busyPoll: timeouts.busyPoll,
      recordSize: { [disks] in disks.recordChange(of: disk) })
    transmission.run()
    return transmission.output.hasTimedOut
  }

  private static func refusal(_ error: DiskError) -> Handshake.Refusal {
    let reply: OptionReply =
      switch error {
      case .notFound, .noDefault: .unknown
      case .invalidName: .invalid
      default: .policy
      }
    return Handshake.Refusal(reply, "\(error)")
  }

  private func setTimeout(_ option: Int32, seconds: Int) {
    var time = timeval(tv_sec: seconds, tv_usec: 0)
    let size = socklen_t(MemoryLayout<timeval>.size)
    unsafe setsockopt(socket, SOL_SOCKET, option, &time, size)
  }

  private func receive(_ bytes: inout [UInt8], by deadline: Deadline) -> Bool {
    let old = bytes.count
    bytes.append(contentsOf: repeatElement(0, count: 4096))
    let count = unsafe bytes.withUnsafeMutableBytes { buffer in
      let room = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[old...])
      if let tls { return unsafe tls.receive(room.baseAddress!, room.count) }
      return unsafe Socket.receive(into: room, from: socket, by: deadline)
    }
    bytes.removeLast(4096 - max(0, count))
    return count > 0
  }

  private func send(_ bytes: [UInt8], by deadline: Deadline) -> Bool {
    unsafe bytes.withUnsafeBytes { bytes in
      guard let tls else { return unsafe Socket.send(bytes, to: socket, by: deadline) }
      guard let start = bytes.baseAddress else { return true }
      guard unsafe tls.send(start, bytes.count) else { return false }
      return tls.flush()
    }
  }
}

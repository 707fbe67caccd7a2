import ControlPlane
import Glibc
import HugeMemory
import Logging
public import NBDServer
import NIOHTTP1
import Primitives
import TLS

/// The HTTP API of a server. Each connection has a thread, as on the other sockets.
///
/// - Thread safety: you may call every method on any thread.
public struct API: Sendable {
  let control: ControlServer
  let jobs: Jobs
  /// What counts the connections.
  let acceptor: Acceptor?
  let started = monotonicTime()
  /// For long answers over TCP, so that they keep none of those on the control socket waiting.
  private let networkSlots = MessageSlots()

  var disks: Disks { control.disks }
  var machine: Machine { control.disks.machine }

  public init(_ control: ControlServer, acceptor: Acceptor? = nil) {
    (self.control, self.acceptor) = (control, acceptor)
    jobs = Jobs(stop: control.stop?.descriptor ?? -1, log: control.log)
  }

  /// Serves one client of the control socket until it is gone. A client that begins with a brace speaks
  /// the older protocol, lines of JSON.
  public func serve(_ place: Place) {
    guard let first = Self.firstByte(place.socket) else { return }
    guard first != UInt8(ascii: "{") else { return control.serve(place) }
    serve(place, .local(isAllowed: control.isAllowed(place)), tls: nil)
  }

  static func firstByte(_ socket: Int32) -> UInt8? {
    var byte: UInt8 = 0
    while true {
      let count = unsafe recv(socket, &byte, 1, Int32(MSG_PEEK))
      if count < 0 && errno == EINTR { continue }
      return count == 1 ? byte : nil
    }
  }

  func serve(_ place: Place, _ access: Access, tls: TLSSession?) {
    let connection = HTTPConnection(
      socket: place.socket, tls: tls, patience: control.patience)
    let held = HeldByClient(disks)
    while true {
      place.offer()
      var request: HTTPRequest?
      do {
        request = try connection.receive()
        guard let request else { return }
        place.keep()
        try answer(request, on: connection, access, place, held)
        guard request.keepsAlive else { return }
      } catch is ClientIsGone {
        return
      } catch {
        // The bytes that follow may be anything.
        try? connection.send(Problem(error).response, to: nil)
        return
      }
    }
  }

  private func answer(
    _ request: HTTPRequest, on connection: HTTPConnection, _ access: Access,
    _ place: Place, _ held: HeldByClient
  ) throws {
    do {
      try access.check(request)
      let (route, segments) = try Route.find(request.head.method, request.path)
      let caller = Caller(
        socket: connection.socket, stop: control.stop?.descriptor ?? -1)
      let call = Route.Call(
        request: request, segments: segments, caller: caller, isLocal: access.isLocal,
        offer: { place.offer() }, held: held)
      try call.allowQuery(route.parameters)
      if !route.hasBody { _ = try request.decode(NoFields.self) }
      // A client that does not read keeps its answer in memory, so few may be under way.
      let slots = access.isLocal ? control.slots : networkSlots
      let isLong = route.listsDisks && disks.count > MessageSlots.fewDisks
      if isLong {
        do { try slots.take() } catch { throw Problem(429, .tooMany, "\(error)") }
      }
      defer { if isLong { slots.give() } }
      switch try route.handle(self, call) {
      case .whole(let response): try connection.send(response, to: request)
      case .stream(let send):
        // A stream of events lasts for ever, so a newer client may have its place.
        if request.head.method == .GET { place.offer() }
        // A part of the answer is sent, so what goes wrong now can only end the connection.
        do { try send(connection, request) } catch { throw ClientIsGone() }
      }
      control.log.debug("done", metadata: ["request": "\(Self.summary(request))"])
    } catch let error where !(error is ClientIsGone) {
      var problem = Problem(error)
      // What the end of the server interrupts is no fault of the request.
      if let stop = control.stop, (try? Caller(socket: -1, stop: stop.descriptor).check()) == nil {
        problem = Problem(503, .cancelled, problem.detail)
      }
      control.log.notice(
        "refused",
        metadata: [
          "request": "\(Self.summary(request))", "client": "\(Self.name(place))",
          "code": "\(problem.code.rawValue)",
          "reason": "\(problem.detail)",
        ])
      try connection.send(problem.response, to: request)
    }
  }

  /// Who a client is, for the log.
  private static func name(_ place: Place) -> String {
    if let user = Socket.user(of: place.socket) { return "uid:\(user)" }
    return Socket.peer(of: place.socket) ?? "HTTP"
  }

  static func summary(_ request: HTTPRequest) -> String {
    "\(request.head.method.rawValue) \(request.head.uri)"
  }
}

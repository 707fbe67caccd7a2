import ControlPlane
import NIOHTTP1

/// What a client of a listener may do.
enum Access: Sendable {
  /// The control socket, which only the server's user and root may use.
  case local(isAllowed: Bool)
  /// TCP. Without a token, clients may only look, and only name this machine as the host, so that no
  /// page of another site can ask by way of a browser.
  case network(token: [UInt8]?)

  var isLocal: Bool { if case .local = self { true } else { false } }

  func check(_ request: HTTPRequest) throws(Problem) {
    switch self {
    case .local(let isAllowed):
      guard isAllowed else {
        throw Problem(403, .forbidden, ControlServer.notAllowed)
      }
    case .network(let token?):
      // The page has no secrets. It asks for the token itself.
      if request.path.isEmpty { return }
      let given = Array((request.header("authorization") ?? "").utf8)
      // The name of the scheme may be written in any case.
      let isBearer = String(decoding: given.prefix(7), as: UTF8.self).lowercased() == "bearer "
      guard isBearer, Self.isSame(Array(given.dropFirst(7)), token) else {
        throw Problem(
          401, .unauthorized, "send the token of --http-token as `Authorization: Bearer TOKEN`")
      }
    case .network(nil):
      guard request.head.method == .GET || request.head.method == .HEAD else {
        throw Problem(
          403, .forbidden,
          "without --http-token, clients over TCP may only look; use the control socket")
      }
      let hosts = request.head.headers["host"]
      guard hosts.count <= 1, Self.isThisMachine(hosts.first ?? "localhost") else {
        throw Problem(403, .forbidden, "use localhost, 127.0.0.1 or [::1] as the host")
      }
    }
  }

  /// Takes the same time wherever the texts differ.
  private static func isSame(_ a: [UInt8], _ b: [UInt8]) -> Bool {
    guard a.count == b.count else { return false }
    return zip(a, b).reduce(0) { $0 | ($1.0 ^ $1.1) } == 0
  }

  private static func isThisMachine(_ host: String) -> Bool {
    var name = host[...]
    if name.hasPrefix("["), let end = name.firstIndex(of: "]") {
      let rest = name[name.index(after: end)...]
      guard rest.isEmpty || rest.hasPrefix(":") else { return false }
      name = name[...end]
    } else if let colon = name.lastIndex(of: ":") {
      name = name[..<colon]
    }
    return ["localhost", "[::1]"].contains(name.lowercased())
      || name.hasPrefix("127.")
        && name.utf8.allSatisfy { $0 == UInt8(ascii: ".") || 48...57 ~= $0 }
  }
}

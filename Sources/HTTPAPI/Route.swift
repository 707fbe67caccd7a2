import ControlPlane
import NIOHTTP1

/// What a route answers.
enum Answer {
  case whole(HTTPResponse)
  /// An answer in parts, which the function sends.
  case stream((HTTPConnection, HTTPRequest) throws -> Void)

  static func json(_ value: some Encodable, _ status: HTTPResponseStatus = .ok) throws -> Self {
    .whole(try .json(value, status))
  }
}

/// One method of one path. `{name}` in a path stands for any segment.
struct Route: Sendable {
  let method: HTTPMethod
  let path: String
  /// Whether the route reads a body.
  let hasBody: Bool
  /// Whether the answer grows with the number of disks.
  let listsDisks: Bool
  /// The parameters of its query.
  let parameters: [String]
  let handle: @Sendable (API, Call) throws -> Answer

  init(
    _ method: HTTPMethod, _ path: String, hasBody: Bool? = nil, listsDisks: Bool = false,
    _ parameters: [String] = [],
    _ handle: @escaping @Sendable (API, Call) throws -> Answer
  ) {
    (self.method, self.path, self.handle) = (method, path, handle)
    self.hasBody = hasBody ?? ![.GET, .DELETE].contains(method)
    (self.listsDisks, self.parameters) = (listsDisks, parameters)
  }

  /// A request, and what the segments in braces were.
  struct Call {
    let request: HTTPRequest
    let segments: [String: String]
    let caller: Caller
    /// Whether the client is one of the control socket. Others cannot name files.
    let isLocal: Bool
    /// Gives the connection's place to a newer client, if there is one. For long waits.
    let offer: () -> Void
    /// What the connection has in the server.
    let held: HeldByClient
    /// The segment that stands for `{name}`.
    var name: String { segments["name"] ?? "" }
  }

  /// The segments of `path` that this route names, or nil if it is another path.
  func match(_ path: [String]) -> [String: String]? {
    let pattern = self.path.split(separator: "/")
    guard pattern.count == path.count else { return nil }
    var found: [String: String] = [:]
    for (wanted, segment) in zip(pattern, path) {
      if wanted.hasPrefix("{") {
        found[String(wanted.dropFirst().dropLast())] = segment
      } else if wanted != segment {
        return nil
      }
    }
    return found
  }

  /// The route of a request. A HEAD is a GET whose answer has no body.
  static func find(_ method: HTTPMethod, _ path: [String]) throws(Problem) -> (
    Route, [String: String]
  ) {
    let wanted = method == .HEAD ? .GET : method
    var allowed: [HTTPMethod] = []
    for route in all {
      guard let segments = route.match(path) else { continue }
      if route.method == wanted { return (route, segments) }
      allowed.append(route.method)
    }
    guard !allowed.isEmpty else {
      throw Problem(
        404, .noSuchPath, "there is nothing here; GET /v1/openapi.json lists what there is")
    }
    var problem = Problem(
      405, .methodNotAllowed, "this path takes \(allowed.map(\.rawValue).joined(separator: ", "))")
    problem.allowed = allowed
    throw problem
  }
}

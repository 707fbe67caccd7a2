import ControlPlane
import Glibc
import NBDServer
import NIOHTTP1

// Images: as a job that goes on by itself, or, for a client that accepts server-sent events, with its
// progress in the answer. Such work ends when its client is gone.
extension API {
  private struct Import: DiskChoices {
    enum CodingKeys: String, CodingKey, CaseIterable {
      case path, size, onto, originSize, quota, reserve, readOnly, description
    }
    var path: String?
    var size: ByteCount?
    var onto: String?
    var originSize: ByteCount?
    var quota: ByteCount?
    var reserve: ByteCount?
    var readOnly: Bool?
    var description: String?
  }

  func importImage(_ call: Route.Call) throws -> Answer {
    let body = try call.request.decode(Import.self)
    let path = try path(body.path, call)
    let (limits, options) = (body.limits, body.options)
    try disks.checkFree(call.name)
    try options.check()
    guard let origin = body.onto else {
      return try start(
        "import", call,
        .importFile(
          name: call.name, path: path, limits: limits, size: body.size?.bytes, options: options))
    }
    guard let size = body.size, let originSize = body.originSize else {
      throw Problem(400, .invalid, "the body: \"onto\" needs \"size\" and \"originSize\"")
    }
    return try start(
      "import", call,
      .importChanges(
        name: call.name, path: path, origin: origin, size: size.bytes,
        originSize: originSize.bytes, limits: limits, options: options))
  }

  private struct Export: RequestBody {
    enum CodingKeys: String, CodingKey, CaseIterable { case path, changes }
    var path: String?
    var changes: Bool?
  }

  func exportImage(_ call: Route.Call) throws -> Answer {
    let body = try call.request.decode(Export.self)
    let path = try path(body.path, call)
    _ = try disks.lookup(call.name)
    guard body.changes == true else {
      return try start("export", call, .exportFile(name: call.name, path: path))
    }
    guard call.acceptsEvents else {
      throw Problem(
        422, .invalid, "the ranges of changes are events; send `Accept: text/event-stream`")
    }
    return try start("export", call, .exportChanges(name: call.name, path: path))
  }

  /// The file that is read or written: an open one that came with the request, or an absolute path, which
  /// the server opens with its own rights.
  func path(_ path: String?, _ call: Route.Call) throws(Problem) -> String {
    guard call.isLocal else {
      throw Problem(403, .forbidden, "only clients of the control socket may name files; use NBD")
    }
    if call.request.file != nil { return path ?? "the client's file" }
    guard let path, path.hasPrefix("/"), !path.utf8.contains(0), path.utf8.count < PATH_MAX else {
      throw Problem(
        400, .invalid, "the body: \"path\" must be an absolute path of less than \(PATH_MAX) bytes")
    }
    return path
  }

  private func start(
    _ kind: String, _ call: Route.Call, _ request: ControlRequest
  ) throws -> Answer {
    if call.acceptsEvents {
      return attached(call) { [control, self] report in
        _ = try control.perform(request, call.request.file, call.caller, call.held, report)
        return try disk(call.name)
      }
    }
    if case .importChanges = request {
      throw Problem(422, .invalid, "changes come with a client; send `Accept: text/event-stream`")
    }
    let file = call.request.file
    let job = try jobs.start(kind, call.name) { [control] caller, progress in
      _ = try control.perform(request, file, caller, HeldByClient(control.disks)) { part in
        if case .progress(let done, let total) = part { progress(done, total) }
      }
    }
    return try accepted(job)
  }

  func accepted(_ job: Jobs.Job) throws -> Answer {
    var response = try HTTPResponse.json(job, .accepted)
    response.headers.append(("location", "/v1/jobs/\(job.id)"))
    return .whole(response)
  }

  /// Does the work now, and sends its progress and its end, which `work` returns, as events.
  func attached(
    _ call: Route.Call,
    _ work: @escaping (_ report: @escaping (ControlResponse) -> Void) throws -> some Encodable
  ) -> Answer {
    .stream { connection, request in
      connection.begin(.ok, ["content-type": "text/event-stream"], to: request)
      func send(_ kind: String, _ value: some Encodable) throws {
        try connection.sendPart("event: \(kind)\ndata: \(try JSON.text(value))\n\n")
      }
      do {
        let end = try work { part in
          // If the client is gone, the work finds that out itself.
          switch part {
          case .progress(let done, let total):
            try? send("progress", ["done": done, "total": total])
          case .changes(let ranges): try? send("changes", ["ranges": ranges])
          default: break
          }
        }
        try send("done", end)
      } catch {
        let problem = Problem(error)
        control.log.notice(
          (try? call.caller.check()) == nil ? "cancelled" : "refused",
          metadata: ["request": "\(API.summary(request))", "reason": "\(problem.detail)"])
        try send("failed", problem.document)
      }
      try connection.end()
    }
  }

  /// A job, at once, or when it has ended, but after at most `wait` seconds.
  func job(_ call: Route.Call) throws -> Answer {
    let id = call.segments["id"] ?? ""
    let wait = try call.number("wait", 0...60) ?? 0
    if wait > 0 { call.offer() }
    for _ in 0..<wait * 100 {
      guard try jobs.find(id).state == .running else { break }
      try call.caller.check()
      guard !call.hasEnded else { throw ClientIsGone() }
      usleep(10_000)
    }
    return try .json(jobs.find(id))
  }
}

extension Route.Call {
  /// Whether the client has closed its side.
  fileprivate var hasEnded: Bool {
    var byte: UInt8 = 0
    return unsafe recv(caller.socket, &byte, 1, Int32(MSG_PEEK | MSG_DONTWAIT)) == 0
  }

  var acceptsEvents: Bool {
    request.header("accept")?.contains("text/event-stream") == true
  }
}

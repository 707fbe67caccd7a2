import ControlPlane
import Glibc
import NBDServer

extension API {
  private struct Import: RequestBody {
    enum CodingKeys: String, CodingKey, CaseIterable {
      case path, size, quota, reserve, readOnly, description
    }
    var path: String?
    var size: ByteCount?
    var quota: ByteCount?
    var reserve: ByteCount?
    var readOnly: Bool?
    var description: String?
  }

  private struct Export: RequestBody {
    enum CodingKeys: String, CodingKey, CaseIterable { case path }
    var path: String?
  }

  func importImage(_ call: Route.Call) throws -> Answer {
    let body = try call.request.decode(Import.self)
    let path = try path(body.path, call)
    try disks.checkFree(call.name)
    return try start(
      "import", call,
      .importFile(
        name: call.name, path: path,
        limits: DiskLimits(quota: body.quota?.bytes, reserve: body.reserve?.bytes),
        size: body.size?.bytes,
        options: DiskOptions(isReadOnly: body.readOnly, description: body.description)))
  }

  func exportImage(_ call: Route.Call) throws -> Answer {
    let body = try call.request.decode(Export.self)
    let path = try path(body.path, call)
    _ = try disks.lookup(call.name)
    return try start("export", call, .exportFile(name: call.name, path: path))
  }

  /// The file that a job reads or writes: an open one that came with the request, or an absolute path,
  /// which the server opens with its own rights.
  private func path(_ path: String?, _ call: Route.Call) throws(Problem) -> String {
    guard call.isLocal else {
      throw Problem(403, .forbidden, "only clients of the control socket may name files; use NBD")
    }
    if call.request.file != nil { return path ?? "the client's file" }
    guard let path, path.hasPrefix("/"), !path.utf8.contains(0) else {
      throw Problem(400, .invalid, "the body: \"path\" must be an absolute path")
    }
    return path
  }

  private func start(
    _ kind: String, _ call: Route.Call, _ request: ControlRequest
  ) throws -> Answer {
    let file = call.request.file
    let job = try jobs.start(kind, call.name) { [control] caller, progress in
      _ = try control.carryOut(request, file, caller, progress: progress)
    }
    var response = try HTTPResponse.json(job, .accepted)
    response.headers.append(("location", "/v1/jobs/\(job.id)"))
    return .whole(response)
  }

  /// A job, at once, or when it has ended, but after at most `wait` seconds.
  func job(_ call: Route.Call) throws -> Answer {
    try call.allowQuery(["wait"])
    let id = call.segments["id"] ?? ""
    let wait = try call.number("wait", 0...60) ?? 0
    for _ in 0..<wait * 100 {
      guard try jobs.find(id).state == .running else { break }
      try call.caller.check()
      usleep(10_000)
    }
    return try .json(jobs.find(id))
  }
}

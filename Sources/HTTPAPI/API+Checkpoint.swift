import Checkpoints
import ControlPlane
import Glibc
import NIOHTTP1

// Checkpoints: as a job, or, for a client that accepts server-sent events, with its progress in the answer.
extension API {
  private struct Request: RequestBody {
    enum CodingKeys: String, CodingKey, CaseIterable { case path, disks }
    var path: String?
    var disks: [String]?
  }

  /// How a checkpoint ended.
  private struct Document: Encodable {
    var generation: Int
    var disks: Int
    /// In bytes.
    var written: UInt64
    var total: UInt64
    var incremental: Bool

    init(_ report: Checkpoints.Report) {
      (generation, disks) = (report.generation, report.disks)
      (written, total, incremental) = (report.written, report.total, report.isIncremental)
    }
  }

  func checkpoint(_ call: Route.Call) throws -> Answer {
    let body = try call.request.decode(Request.self)
    let path = try path(body.path, call)
    let directory =
      try call.request.file.map {
        try CheckpointDirectory(descriptor: fcntl($0.descriptor, F_DUPFD_CLOEXEC, 0))
      } ?? CheckpointDirectory(path: path)
    // Who has the answer can unmount the file system.
    call.request.file?.close()
    if let names = body.disks { for name in names { _ = try disks.lookup(name) } }
    guard call.acceptsEvents else {
      let job = try jobs.start("checkpoint", "") { [control] caller, progress in
        defer { directory.close() }
        _ = try control.checkpoint(body.disks, to: directory, caller, progress)
      }
      return try accepted(job)
    }
    return attached(call) { [control] report in
      defer { directory.close() }
      let end = try control.checkpoint(body.disks, to: directory, call.caller) { done, total in
        report(.progress(done: done, total: total))
      }
      return Document(end)
    }
  }
}

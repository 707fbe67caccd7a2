import ControlPlane
import Glibc

extension API {
  /// Hands the disks over to another process, at the other end of the socket that came with the request.
  func takeover(_ call: Route.Call) throws -> Answer {
    guard call.isLocal else {
      throw Problem(403, .forbidden, "only clients of the control socket may take over")
    }
    guard let file = call.request.file else {
      throw Problem(
        400, .failed, "a socket must go with this request; use `hugemem serve --takeover`")
    }
    guard let handOver = control.handOver else {
      throw Problem(
        409, .failed,
        "this server was started without --survive, so its disks end with it; save them with `hugemem checkpoint`"
      )
    }
    let socket = fcntl(file.descriptor, F_DUPFD_CLOEXEC, 0)
    guard socket >= 0 else { throw Problem(503, .failed, "no descriptor is left") }
    try handOver(socket)
    return try .json([String: String](), .accepted)
  }
}

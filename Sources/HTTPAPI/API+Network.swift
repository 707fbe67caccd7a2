import Glibc
public import NBDServer
import NBD
import TLS

extension API {
  /// Serves one client over TCP. Without a token, it may only look.
  public func serve(_ place: Place, token: [UInt8]?, security: Security) {
    var time = timeval(tv_sec: control.patience, tv_usec: 0)
    let size = socklen_t(MemoryLayout<timeval>.size)
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
      unsafe setsockopt(place.socket, SOL_SOCKET, option, &time, size)
    }
    let access = Access.network(token: token)
    guard let credentials = security.context?.credentials,
      security.mode == .required || Self.beginsTLS(place.socket, within: control.patience)
    else { return serve(place, access, tls: nil) }
    let deadline = Deadline(seconds: control.patience)
    do throws(TLSError) {
      let tls = try TLSSession(socket: place.socket, credentials: credentials) {
        deadline.wait(for: place.socket, $0)
      }
      defer { tls.close() }
      tls.endNegotiation()
      serve(place, access, tls: tls)
    } catch {
      control.log.notice("refused", metadata: ["client": "HTTP", "reason": "\(error)"])
    }
  }

  /// Whether the first byte is that of a TLS handshake, where both are allowed.
  private static func beginsTLS(_ socket: Int32, within patience: Int) -> Bool {
    guard Deadline(seconds: patience).wait(for: socket, POLLIN) else { return false }
    return firstByte(socket) == 22
  }
}

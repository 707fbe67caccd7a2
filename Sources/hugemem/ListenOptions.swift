import ArgumentParser
import ControlPlane
import Glibc
import NBD
import NBDServer
import Synchronization
import TLS

/// Where the server listens, and with which security.
struct ListenOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Listen on TCP as well. An empty host means all addresses, a port 0 any free one. Other machines need TLS, unless --insecure is given. Repeatable.",
      valueName: "host:port"))
  var tcp: [String] = []
  @Option(
    help: ArgumentHelp("Listen on one more Unix socket. Repeatable.", valueName: "path"))
  var unix: [String] = []
  @Option(
    help: ArgumentHelp(
      "Listen on a port of vsock, for virtual machines on this host. They need TLS, unless --insecure is given.",
      valueName: "port"))
  var vsock: UInt32?
  @Flag(
    help:
      "Allow other machines to connect without TLS. All of them can then read and write every disk, except as --rules says."
  )
  var insecure = false
  @Option(
    help: ArgumentHelp(
      "Whether clients use TLS: off, allowed or required. (default with certificates or keys: allowed on the Unix socket and on loopback addresses, required on others; else off)",
      valueName: "mode"))
  var tls: String?
  @Option(
    help: ArgumentHelp(
      "A directory with server-cert.pem, server-key.pem and, for client certificates, ca-cert.pem and ca-crl.pem.",
      valueName: "dir"))
  var tlsCertificates: String?
  @Option(
    help: ArgumentHelp(
      "A file with pre-shared keys, as psktool writes it: a line user:hexkey each.",
      valueName: "file"))
  var tlsPsk: String?
  @Flag(
    help:
      "Refuse clients that have neither a certificate signed by ca-cert.pem nor a pre-shared key."
  )
  var tlsVerifyClient = false

  func validate() throws {
    for address in tcp where Self.parse(address) == nil {
      throw ValidationError("--tcp \(address): write HOST:PORT, for example 127.0.0.1:10809")
    }
    if let tls, TLSMode(rawValue: tls) == nil {
      throw ValidationError("--tls \(tls): use off, allowed or required")
    }
    let hasCredentials = tlsCertificates != nil || tlsPsk != nil
    guard hasCredentials || tls == nil || tls == "off" else {
      throw ValidationError("--tls \(tls ?? ""): needs --tls-certificates or --tls-psk")
    }
    guard tlsCertificates != nil || !tlsVerifyClient else {
      throw ValidationError("--tls-verify-client: needs --tls-certificates")
    }
  }

  /// Nil without TLS.
  func context() throws -> TLSContext? {
    guard hasTLS else { return nil }
    do {
      return try TLSContext(
        TLSCredentials.Source(
          certificates: tlsCertificates.map(absolutePath), keys: tlsPsk.map(absolutePath),
          verifiesClients: tlsVerifyClient))
    } catch {
      throw ControlError("TLS: \(error)")
    }
  }

  /// Opens the listeners that the options name.
  func listeners(noting sockets: SocketFiles) throws -> [Listener] {
    var listeners: [Listener] = []
    let anywhere = insecure || remoteMode == .required
    for text in tcp {
      guard let (host, port) = Self.parse(text) else { continue }
      do {
        listeners += try Listener.tcp(
          host: host, port: port, anywhere: anywhere, from: sockets.open)
      } catch {
        throw ControlError("--tcp \(text): \(error)")
      }
    }
    for path in unix {
      do { listeners.append(try sockets.listen(absolutePath(path))) } catch {
        throw ControlError("--unix \(path): \(error)")
      }
    }
    if let vsock {
      do throws(SocketError) {
        guard anywhere else { throw Listener.openToOthers }
        listeners.append(try Listener.vsock(port: vsock, from: sockets.open))
      } catch {
        throw ControlError("--vsock \(vsock): \(error)")
      }
    }
    return listeners
  }

  /// Listeners that a service manager opened, if clients may use them without TLS or must use it.
  func checked(_ given: [Listener]) throws -> [Listener] {
    for listener in given where !listener.isLocal && !insecure && remoteMode != .required {
      throw ControlError("LISTEN_FDS: \(listener.address): \(Listener.openToOthers)")
    }
    return given
  }

  private var hasTLS: Bool { tls != "off" && (tlsCertificates != nil || tlsPsk != nil) }

  /// The mode where other machines can connect.
  private var remoteMode: TLSMode {
    hasTLS ? tls.flatMap(TLSMode.init) ?? .required : .off
  }

  func mode(for listener: Listener) -> TLSMode {
    guard hasTLS else { return .off }
    // The permissions of a Unix socket protect it already.
    if listener.kind == .unix { return .allowed }
    return listener.isLocal ? tls.flatMap(TLSMode.init) ?? .allowed : remoteMode
  }

  static func parse(_ text: String) -> (host: String, port: UInt16)? {
    guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...])
    else { return nil }
    var host = String(text[..<colon])
    if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
    return (host, port)
  }
}

/// The files of Unix sockets that the server removes at its end.
final class SocketFiles: Sendable {
  private let paths = Mutex<(own: [String], taken: [String])>(([], []))
  /// Sockets that are open already, to be used before others are opened.
  let open: OpenListeners

  init(_ open: OpenListeners = OpenListeners()) { self.open = open }

  /// Listens on a socket that goes with the server.
  func listen(_ path: String) throws(SocketError) -> Listener {
    let listener = try Listener.unix(path, from: open)
    let isTaken = open.hasGiven(listener)
    paths.withLock { isTaken ? $0.taken.append(path) : $0.own.append(path) }
    return listener
  }

  /// The server that had the sockets before is gone.
  func keepTaken() {
    paths.withLock {
      $0.own += $0.taken
      $0.taken = []
    }
  }

  func remove() { paths.withLock { for path in $0.own { unsafe unlink(path) } } }
}

import ArgumentParser
import ControlPlane
import HTTPAPI
import NBDServer
import TLS

/// The HTTP API over TCP, beside the one on the control socket.
struct HTTPOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Serve the status page, metrics and the API over HTTP there as well. Without --http-token, clients may only look, and only this machine may connect. Repeatable.",
      valueName: "host:port"))
  var http: [String] = []
  @Option(
    help: ArgumentHelp(
      "A file whose only line is a token of at least 16 characters. Clients of --http that send it may do everything but name files; others nothing.",
      valueName: "file"), completion: .file())
  var httpToken: String?

  func validate() throws {
    for address in http where ListenOptions.parse(address) == nil {
      throw ValidationError("--http \(address): write HOST:PORT, for example 127.0.0.1:8080")
    }
    guard httpToken == nil || !http.isEmpty else {
      throw ValidationError("--http-token: needs --http")
    }
  }

  func token() throws -> [UInt8]? {
    guard let httpToken else { return nil }
    var token = Array(try SmallFile.read(httpToken, atMost: 4096))
    if token.last == UInt8(ascii: "\n") { token.removeLast() }
    // Only what a header can carry as it is.
    guard token.count >= 16, token.allSatisfy({ (33...126).contains($0) }) else {
      throw ControlError(
        "--http-token \(httpToken): write one line of at least 16 printable characters, for example by "
          + "`openssl rand -hex 32`")
    }
    return token
  }

  /// Opens the listeners, or ones on any free ports. Other machines need a token, and TLS unless
  /// `--insecure` is given.
  func listeners(
    _ listening: ListenOptions, hasToken: Bool, anyPort: Bool = false,
    from open: OpenListeners? = nil
  ) throws -> [Listener] {
    var listeners: [Listener] = []
    for text in http {
      guard let (host, chosen) = ListenOptions.parse(text) else { continue }
      let port = anyPort ? 0 : chosen
      do { listeners += try Listener.tcp(host: host, port: port, from: open) } catch {
        throw ControlError("--http \(text): \(error)")
      }
    }
    return try checked(listeners, listening, hasToken: hasToken)
  }

  /// Throws unless the listeners have what they need.
  func checked(
    _ listeners: [Listener], _ listening: ListenOptions, hasToken: Bool
  ) throws -> [Listener] {
    for listener in listeners where !listener.isLocal {
      guard hasToken else {
        throw ControlError(
          "--http \(listener.address): other machines can reach it; give it --http-token")
      }
      guard listening.insecure || listening.mode(for: listener) == .required else {
        throw ControlError("--http \(listener.address): \(Listener.openToOthers)")
      }
    }
    return listeners
  }
}

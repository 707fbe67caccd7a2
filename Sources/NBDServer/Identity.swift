/// Who a client is, as far as the server could verify it.
public enum Identity: Hashable, Sendable, CustomStringConvertible {
  /// A TCP client without TLS, or with TLS but without a certificate.
  case anonymous
  /// The process at the other end of a Unix socket, by its user.
  case user(UInt32)
  /// The common name in a client's certificate, which a trusted authority has signed.
  case certificate(String)
  /// The user name of a pre-shared key that the client has.
  case key(String)

  public var description: String {
    switch self {
    case .anonymous: "anonymous"
    case .user(let number): "uid:\(number)"
    case .certificate(let name): "cert:\(name)"
    case .key(let name): "psk:\(name)"
    }
  }
}

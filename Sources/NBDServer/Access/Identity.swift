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

  /// The name that `$name` stands for in a rule; nil for a client without one.
  public var name: String? {
    switch self {
    case .anonymous: nil
    case .user(let number): String(number)
    case .certificate(let name), .key(let name): name
    }
  }

  /// Reads `anonymous`, `uid:NUMBER`, `cert:NAME` or `psk:USER`.
  public init?(_ text: String) {
    if text == "anonymous" {
      self = .anonymous
    } else if text.hasPrefix("uid:"), let number = UInt32(text.dropFirst(4)) {
      self = .user(number)
    } else if text.hasPrefix("cert:"), text.count > 5 {
      self = .certificate(String(text.dropFirst(5)))
    } else if text.hasPrefix("psk:"), text.count > 4 {
      self = .key(String(text.dropFirst(4)))
    } else {
      return nil
    }
  }

  public var description: String {
    switch self {
    case .anonymous: "anonymous"
    case .user(let number): "uid:\(number)"
    case .certificate(let name): "cert:\(name)"
    case .key(let name): "psk:\(name)"
    }
  }
}

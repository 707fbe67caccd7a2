import CGnuTLS

/// Why credentials cannot be used, or why TLS with a client could not begin.
public struct TLSError: Error, Sendable, CustomStringConvertible {
  public let description: String

  public init(_ description: String) { self.description = description }

  init(_ what: String, _ code: Int32) {
    description = unsafe "\(what): \(String(cString: gnutls_strerror(code)))"
  }
}

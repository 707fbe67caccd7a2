/// Whether the clients of a listener use TLS.
public enum TLSMode: String, Sendable, CaseIterable {
  /// STARTTLS is refused.
  case off
  /// A client may begin TLS, or go on without it.
  case allowed
  /// Without TLS, a client can only begin TLS or leave.
  case required
}

import CGnuTLS
import CLinux
import Glibc

/// What the server proves its identity with, and how it verifies that of clients. Loaded whole from
/// files, and constant from then on.
///
/// - Thread safety: sessions on any threads may share it.
@safe public final class TLSCredentials: @unchecked Sendable {
  // Sendable: GnuTLS only reads credentials once they are loaded.

  /// Where the credentials come from.
  public struct Source: Sendable {
    /// A directory with `server-cert.pem` and `server-key.pem`, and `ca-cert.pem` if clients have
    /// certificates; `ca-crl.pem` lists revoked ones. These are the names that nbdkit and qemu use.
    public var certificates: String?
    /// A file with pre-shared keys.
    public var keys: String?
    /// Whether a client needs a certificate, unless it has a pre-shared key.
    public var verifiesClients: Bool

    public init(certificates: String? = nil, keys: String? = nil, verifiesClients: Bool = false) {
      self.certificates = certificates
      self.keys = keys
      self.verifiesClients = verifiesClients
    }
  }

  let verifiesClients: Bool
  /// Whether there is an authority to verify clients' certificates with.
  let hasAuthority: Bool
  let certificates: gnutls_certificate_credentials_t?
  let preShared: gnutls_psk_server_credentials_t?
  let priorities: gnutls_priority_t
  let keys: PreSharedKeys?

  public init(_ source: Source) throws(TLSError) {
    verifiesClients = source.verifiesClients
    keys = try source.keys.map { path throws(TLSError) in try PreSharedKeys(path: path) }
    var hasAuthority = false
    unsafe certificates = try source.certificates.map { directory throws(TLSError) in
      unsafe try Self.load(directory, verifies: source.verifiesClients, &hasAuthority)
    }
    self.hasAuthority = hasAuthority
    var preShared: gnutls_psk_server_credentials_t?
    if keys != nil {
      unsafe gnutls_psk_allocate_server_credentials(&preShared)
      unsafe gnutls_psk_set_server_credentials_function(preShared!, findKey)
    }
    unsafe self.preShared = preShared
    var text = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"
    if hm_has_aes() {
      // With a pre-shared key, GnuTLS and OpenSSL would take ChaCha20 before AES-128-GCM, which is
      // several times as fast here.
      text += ":-CHACHA20-POLY1305:+CHACHA20-POLY1305:%SERVER_PRECEDENCE"
    }
    if keys != nil { text += ":+ECDHE-PSK:+DHE-PSK:+PSK" }
    var priorities: gnutls_priority_t?
    let code = unsafe gnutls_priority_init(&priorities, text, nil)
    guard code == 0, let priorities = unsafe priorities else {
      throw TLSError("GnuTLS has no \(text)", code)
    }
    unsafe self.priorities = priorities
  }

  deinit {
    if let certificates = unsafe certificates {
      unsafe gnutls_certificate_free_credentials(certificates)
    }
    if let preShared = unsafe preShared { unsafe gnutls_psk_free_server_credentials(preShared) }
    unsafe gnutls_priority_deinit(priorities)
  }

  private static func load(
    _ directory: String, verifies: Bool, _ hasAuthority: inout Bool
  ) throws(TLSError) -> gnutls_certificate_credentials_t {
    var made: gnutls_certificate_credentials_t?
    let code = unsafe gnutls_certificate_allocate_credentials(&made)
    guard code == 0, let made = unsafe made else { throw TLSError("certificates", code) }
    do throws(TLSError) {
      unsafe try fill(made, directory, verifies, &hasAuthority)
      return unsafe made
    } catch {
      unsafe gnutls_certificate_free_credentials(made)
      throw error
    }
  }

  private static func fill(
    _ credentials: gnutls_certificate_credentials_t, _ directory: String, _ verifies: Bool,
    _ hasAuthority: inout Bool
  ) throws(TLSError) {
    let authority = "\(directory)/ca-cert.pem"
    let revoked = "\(directory)/ca-crl.pem"
    let certificate = "\(directory)/server-cert.pem"
    let key = "\(directory)/server-key.pem"
    for file in [certificate, key] + (verifies ? [authority] : []) where !exists(file) {
      throw TLSError("\(file): \(unsafe String(cString: strerror(errno)))")
    }
    try SecretFile.check(key)
    var code = unsafe gnutls_certificate_set_x509_key_file(
      credentials, certificate, key, GNUTLS_X509_FMT_PEM)
    guard code >= 0 else { throw TLSError("\(certificate) with \(key)", code) }
    guard exists(authority) else { return }
    code = unsafe gnutls_certificate_set_x509_trust_file(
      credentials, authority, GNUTLS_X509_FMT_PEM)
    guard code > 0 else {
      throw code == 0
        ? TLSError("\(authority): has no certificate") : TLSError(authority, code)
    }
    hasAuthority = true
    guard exists(revoked) else { return }
    code = unsafe gnutls_certificate_set_x509_crl_file(credentials, revoked, GNUTLS_X509_FMT_PEM)
    guard code >= 0 else { throw TLSError(revoked, code) }
  }

  private static func exists(_ path: String) -> Bool { unsafe access(path, R_OK) == 0 }
}

/// Gives GnuTLS the key of a user. An unknown user gets a random key, so that a client cannot tell
/// which users there are.
private func findKey(
  _ session: gnutls_session_t?, _ user: UnsafePointer<CChar>?,
  _ key: UnsafeMutablePointer<gnutls_datum_t>?
) -> Int32 {
  guard let key = unsafe key, let user = unsafe user,
    let own = unsafe gnutls_session_get_ptr(session)
  else { return -1 }
  let credentials = unsafe Unmanaged<TLSCredentials>.fromOpaque(own).takeUnretainedValue()
  let found =
    unsafe String(validatingCString: user).flatMap { credentials.keys?.keys[$0] }
    ?? (0..<32).map { _ in UInt8.random(in: .min ... .max) }
  // GnuTLS frees it. Its own allocator is malloc, unless a program replaces that.
  guard let copy = unsafe malloc(found.count) else { return -1 }
  unsafe found.withUnsafeBytes {
    unsafe copy.copyMemory(from: $0.baseAddress!, byteCount: found.count)
  }
  unsafe key.pointee.data = unsafe copy.assumingMemoryBound(to: UInt8.self)
  unsafe key.pointee.size = UInt32(found.count)
  return 0
}

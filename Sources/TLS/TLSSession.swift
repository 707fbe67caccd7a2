import CGnuTLS
import Glibc

/// The server's side of TLS on a socket.
///
/// Use it on one thread, and call `close` at the end. It is a pointer, so that a connection copies it
/// without counting references.
@safe public struct TLSSession {
  private let state: UnsafeMutablePointer<State>

  @safe private struct State {
    let session: gnutls_session_t
    var transport: TLSTransport
    let credentials: TLSCredentials
    /// Small pieces of data, which are sent as one record.
    let record: UnsafeMutableRawPointer
    var filled = 0
  }

  /// The most data in one record, in bytes.
  private static let recordSize = 16 << 10
  /// The most records that GnuTLS may take without data, such as updates of keys, in one call.
  private static let mostEmpty = 64

  /// Who the client has proved to be.
  public enum Peer: Sendable, Equatable {
    case anonymous
    /// The common name in a certificate that was verified.
    case certificate(String)
    /// The user of a pre-shared key.
    case key(String)
  }

  /// Waits for the client's part of the TLS handshake. Calls `wait` with `POLLIN` or `POLLOUT` to
  /// wait for the socket; it returns false once the time is over.
  public init(
    socket: Int32, credentials: TLSCredentials, wait: @escaping (Int32) -> Bool
  ) throws(TLSError) {
    var made: gnutls_session_t?
    let code = unsafe gnutls_init(&made, UInt32(GNUTLS_SERVER.rawValue))
    guard code == 0, let session = unsafe made else { throw TLSError("session", code) }
    unsafe state = .allocate(capacity: 1)
    unsafe state.initialize(
      to: State(
        session: session, transport: TLSTransport(socket: socket, wait: wait),
        credentials: credentials,
        record: .allocate(byteCount: Self.recordSize, alignment: 4096)))
    unsafe gnutls_session_set_ptr(session, Unmanaged.passUnretained(credentials).toOpaque())
    unsafe gnutls_priority_set(session, credentials.priorities)
    if let certificates = unsafe credentials.certificates {
      unsafe gnutls_credentials_set(
        session, GNUTLS_CRD_CERTIFICATE, UnsafeMutableRawPointer(certificates))
      let request =
        credentials.verifiesClients
        ? GNUTLS_CERT_REQUIRE : credentials.hasAuthority ? GNUTLS_CERT_REQUEST : GNUTLS_CERT_IGNORE
      unsafe gnutls_certificate_server_set_request(session, request)
    }
    if let preShared = unsafe credentials.preShared {
      unsafe gnutls_credentials_set(session, GNUTLS_CRD_PSK, UnsafeMutableRawPointer(preShared))
    }
    unsafe gnutls_transport_set_ptr(session, state)
    unsafe gnutls_transport_set_pull_function(session) { pointer, target, count in
      guard let pointer = unsafe pointer, let target = unsafe target else { return -1 }
      return unsafe pointer.assumingMemoryBound(to: State.self).pointee.transport
        .pull(target, count)
    }
    unsafe gnutls_transport_set_vec_push_function(session) { pointer, pieces, count in
      guard let pointer = unsafe pointer, let pieces = unsafe pieces else { return -1 }
      return unsafe pointer.assumingMemoryBound(to: State.self).pointee.transport
        .push(UnsafeRawPointer(pieces).assumingMemoryBound(to: iovec.self), Int(count))
    }
    do throws(TLSError) { try handshake() } catch {
      close()
      throw error
    }
  }

  private func handshake() throws(TLSError) {
    while true {
      let code = unsafe gnutls_handshake(state.pointee.session)
      if code == GNUTLS_E_SUCCESS { return }
      if unsafe state.pointee.transport.hasTimedOut {
        throw TLSError("the client did not end the TLS handshake in time")
      }
      if gnutls_error_is_fatal(code) != 0 {
        unsafe gnutls_alert_send_appropriate(state.pointee.session, code)
        throw TLSError("TLS handshake", code)
      }
    }
  }

  /// Who the client is. Throws if its certificate cannot be trusted.
  public func peer() throws(TLSError) -> Peer {
    let session = unsafe state.pointee.session
    if unsafe gnutls_auth_get_type(session) == GNUTLS_CRD_PSK {
      guard let user = unsafe gnutls_psk_server_get_username(session) else { return .anonymous }
      return .key(unsafe String(cString: user))
    }
    var count: UInt32 = 0
    guard let chain = unsafe gnutls_certificate_get_peers(session, &count), count > 0 else {
      return .anonymous
    }
    var status: UInt32 = 0
    var purpose = Array("1.3.6.1.5.5.7.3.2".utf8CString)  // TLS client
    let code = unsafe purpose.withUnsafeMutableBytes { bytes in
      var data = unsafe gnutls_typed_vdata_st(
        type: GNUTLS_DT_KEY_PURPOSE_OID,
        data: bytes.baseAddress!.assumingMemoryBound(to: UInt8.self),
        size: UInt32(bytes.count - 1))
      return unsafe gnutls_certificate_verify_peers(session, &data, 1, &status)
    }
    guard code == 0, status == 0 else {
      unsafe gnutls_alert_send(session, GNUTLS_AL_FATAL, GNUTLS_A_BAD_CERTIFICATE)
      throw TLSError("the client's certificate: \(Self.reason(status))")
    }
    do throws(TLSError) { return .certificate(try unsafe Self.commonName(chain.pointee)) } catch {
      unsafe gnutls_alert_send(session, GNUTLS_AL_FATAL, GNUTLS_A_BAD_CERTIFICATE)
      throw error
    }
  }

  private static func reason(_ status: UInt32) -> String {
    var text = unsafe gnutls_datum_t()
    guard
      unsafe gnutls_certificate_verification_status_print(
        status, GNUTLS_CRT_X509, &text, 0) == 0, let bytes = unsafe text.data
    else { return "is not trusted" }
    defer { unsafe free(bytes) }
    return unsafe String(
      decoding: UnsafeBufferPointer(start: bytes, count: Int(text.size)), as: UTF8.self)
  }

  private static func commonName(_ encoded: gnutls_datum_t) throws(TLSError) -> String {
    var made: gnutls_x509_crt_t?
    unsafe gnutls_x509_crt_init(&made)
    guard let certificate = unsafe made else { throw TLSError("certificate: no memory") }
    defer { unsafe gnutls_x509_crt_deinit(certificate) }
    var encoded = unsafe encoded
    var code = unsafe gnutls_x509_crt_import(certificate, &encoded, GNUTLS_X509_FMT_DER)
    var name = [UInt8](repeating: 0, count: 256)
    var length = name.count
    if code == 0 {
      code = unsafe gnutls_x509_crt_get_dn_by_oid(certificate, "2.5.4.3", 0, 0, &name, &length)
    }
    guard code == 0, let text = String(validating: name[..<length], as: UTF8.self), !text.isEmpty
    else {
      throw TLSError("the client's certificate has no common name of at most 255 bytes", code)
    }
    return text
  }

  /// From now on the socket's own timeouts hold.
  public func endNegotiation() { unsafe state.pointee.transport.wait = nil }

  /// Waits for data, as `recv` does: returns the number of bytes, 0 at the end, and -1 with an
  /// `errno` after an error. Takes what else has arrived too, but waits no longer for it.
  public func receive(_ target: UnsafeMutableRawPointer, _ capacity: Int) -> Int {
    var done = 0
    for _ in 0..<Self.mostEmpty {
      unsafe state.pointee.transport.hasTimedOut = false
      let count = unsafe gnutls_record_recv(state.pointee.session, target + done, capacity - done)
      if count > 0 {
        done += count
        guard done < capacity, hasMore else { return done }
        continue
      }
      if done > 0 { return done }
      // A client that is gone without a word has ended all the same: each request has its length.
      if count == 0 || count == Int(GNUTLS_E_PREMATURE_TERMINATION) { return 0 }
      if unsafe state.pointee.transport.hasTimedOut {
        errno = EAGAIN
        return -1
      }
      // GnuTLS took a record without data.
      if count == Int(GNUTLS_E_AGAIN) || count == Int(GNUTLS_E_INTERRUPTED)
        || count == Int(GNUTLS_E_WARNING_ALERT_RECEIVED)
      {
        continue
      }
      break
    }
    if done > 0 { return done }
    errno = ECONNABORTED
    return -1
  }

  /// Whether `receive` would return at once.
  public var hasMore: Bool {
    unsafe gnutls_record_check_pending(state.pointee.session) > 0
      || state.pointee.transport.hasRecord
  }

  /// Gives back memory before a long wait.
  public func rest() {
    unsafe state.pointee.transport.rest()
    if unsafe state.pointee.filled == 0 {
      unsafe madvise(state.pointee.record, Self.recordSize, MADV_DONTNEED)
    }
  }

  /// Sends data, or keeps it for a later record. Returns false if the client is gone, or took
  /// nothing within the timeout; `hasTimedOut` then tells which.
  public func send(_ bytes: UnsafeRawPointer, _ count: Int) -> Bool {
    var done = 0
    while done < count {
      let filled = unsafe state.pointee.filled
      if filled == 0 && count - done >= Self.recordSize {
        guard unsafe sendRecord(bytes + done, Self.recordSize) else { return false }
        done += Self.recordSize
      } else {
        let part = min(count - done, Self.recordSize - filled)
        unsafe (state.pointee.record + filled).copyMemory(from: bytes + done, byteCount: part)
        unsafe state.pointee.filled += part
        done += part
        if unsafe state.pointee.filled == Self.recordSize { guard flush() else { return false } }
      }
    }
    return true
  }

  /// Sends what `send` kept.
  public func flush() -> Bool {
    let filled = unsafe state.pointee.filled
    guard filled > 0 else { return true }
    unsafe state.pointee.filled = 0
    return unsafe sendRecord(state.pointee.record, filled)
  }

  private func sendRecord(_ bytes: UnsafeRawPointer, _ count: Int) -> Bool {
    var done = 0
    while done < count {
      unsafe state.pointee.transport.hasTimedOut = false
      let sent = unsafe gnutls_record_send(state.pointee.session, bytes + done, count - done)
      if sent > 0 {
        done += sent
      } else if unsafe sent == Int(GNUTLS_E_INTERRUPTED) && !state.pointee.transport.hasTimedOut {
        continue
      } else {
        return false
      }
    }
    return true
  }

  public var hasTimedOut: Bool { unsafe state.pointee.transport.hasTimedOut }

  /// The protocol, the key exchange and the cipher, for the log.
  public var summary: String {
    guard let text = unsafe gnutls_session_get_desc(state.pointee.session) else { return "TLS" }
    defer { unsafe free(text) }
    return unsafe String(cString: text)
  }

  /// Tells the client that no more data comes, if it can be told at once. Leaves the socket open.
  public func close() {
    unsafe state.pointee.transport.wait = { _ in false }
    unsafe gnutls_bye(state.pointee.session, GNUTLS_SHUT_WR)
    unsafe gnutls_deinit(state.pointee.session)
    unsafe state.pointee.transport.deallocate()
    unsafe state.pointee.record.deallocate()
    unsafe state.deinitialize(count: 1)
    unsafe state.deallocate()
  }
}

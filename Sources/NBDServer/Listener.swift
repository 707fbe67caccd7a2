import Glibc

/// A listening socket.
public struct Listener: Sendable {
  public let descriptor: Int32
  /// The address for clients: the path of a Unix socket, or a host and port.
  public let address: String
  /// The port of a TCP listener, else nil.
  public let port: UInt16?

  /// Listens on a Unix socket. Replaces a socket that a dead server left.
  public static func unix(_ path: String) throws(SocketError) -> Listener {
    let descriptor = try unsafe Socket.unix(path) { descriptor, address, size in
      unsafe unlink(path)
      let failed = unsafe bind(descriptor, address, size)
      return failed == 0 ? listen(descriptor, SOMAXCONN) : failed
    }
    return Listener(descriptor: descriptor, address: path, port: nil)
  }

  /// Listens on TCP. Port 0 means any free port. Unless `anywhere` is true, refuses an address that
  /// other machines can reach.
  public static func tcp(
    host: String, port: UInt16, anywhere: Bool = true
  ) throws(SocketError) -> Listener {
    var hints = unsafe addrinfo()
    unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    unsafe hints.ai_flags = AI_PASSIVE
    var found: UnsafeMutablePointer<addrinfo>?
    let failed = unsafe getaddrinfo(host, String(port), &hints, &found)
    guard failed == 0, let first = unsafe found else {
      throw SocketError("host \(host): \(unsafe String(cString: gai_strerror(failed)))")
    }
    defer { unsafe freeaddrinfo(first) }
    guard unsafe anywhere || isLoopback(first.pointee.ai_addr) else {
      throw SocketError(
        "other machines can reach it, and could read and write every disk; name an address of this "
          + "machine alone, such as 127.0.0.1, or add --insecure")
    }
    let descriptor = unsafe socket(
      first.pointee.ai_family, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw SocketError("socket", errno: errno) }
    var on: Int32 = 1
    unsafe setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, 4)
    guard unsafe bind(descriptor, first.pointee.ai_addr, first.pointee.ai_addrlen) == 0,
      listen(descriptor, SOMAXCONN) == 0
    else {
      let code = errno
      close(descriptor)
      throw SocketError("listen on \(host):\(port)", errno: code)
    }
    let actual = boundPort(descriptor) ?? port
    let shown = host.contains(":") ? "[\(host)]" : host
    return Listener(descriptor: descriptor, address: "\(shown):\(actual)", port: actual)
  }

  /// Whether an address is ::1 or in 127.0.0.0/8.
  private static func isLoopback(_ address: UnsafePointer<sockaddr>) -> Bool {
    switch Int32(unsafe address.pointee.sa_family) {
    case AF_INET:
      unsafe UnsafeRawPointer(address).load(as: sockaddr_in.self).sin_addr.s_addr & 0xff == 127
    case AF_INET6:
      unsafe withUnsafeBytes(
        of: UnsafeRawPointer(address).load(as: sockaddr_in6.self).sin6_addr
      ) { bytes in unsafe bytes.dropLast().allSatisfy { $0 == 0 } && bytes[15] == 1 }
    default: false
    }
  }

  private static func boundPort(_ descriptor: Int32) -> UInt16? {
    var address = sockaddr_in6()
    var size = socklen_t(MemoryLayout<sockaddr_in6>.size)
    let failed = unsafe withUnsafeMutablePointer(to: &address) {
      unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe getsockname(descriptor, $0, &size)
      }
    }
    // The port has the same offset in an IPv4 and an IPv6 address.
    return failed == 0 ? UInt16(bigEndian: address.sin6_port) : nil
  }
}

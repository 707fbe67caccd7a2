import Glibc

/// A listening socket.
public struct Listener: Sendable {
  public let descriptor: Int32
  /// The address for clients: the path of a Unix socket, a host and port, or a port of vsock.
  public let address: String
  public let kind: Kind
  /// Whether only this machine can reach it.
  public let isLocal: Bool
  /// Whether a service manager has it too, so that it must go on to listen when the server ends.
  var isShared = false

  public enum Kind: Sendable, Equatable {
    case unix
    case tcp(port: UInt16)
    /// The address family between a virtual machine and its host.
    case vsock(port: UInt32)
  }

  /// Listens on a Unix socket. Replaces a socket that a dead server left, but no other file.
  public static func unix(
    _ path: String, from open: OpenListeners? = nil
  ) throws(SocketError) -> Listener {
    if let open = open?.take(where: { $0.kind == .unix && $0.address == path }) { return open }
    let descriptor = try unsafe Socket.unix(path) { descriptor, address, size in
      if isDeadSocket(path) { unsafe unlink(path) }
      let failed = unsafe bind(descriptor, address, size)
      return failed == 0 ? listen(descriptor, SOMAXCONN) : failed
    }
    return Listener(descriptor: descriptor, address: path, kind: .unix, isLocal: true)
  }

  private static func isDeadSocket(_ path: String) -> Bool {
    var status = stat()
    guard unsafe lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFSOCK else {
      return false
    }
    guard
      let client = try? unsafe Socket.unix(path, { unsafe connect($0, $1, $2) })
    else { return errno == ECONNREFUSED }
    close(client)
    return false
  }

  /// Listens on TCP, on each address that the host has. An empty host means all addresses of this
  /// machine, and port 0 any free port, the same on each address. Unless `anywhere` is true, refuses
  /// an address that other machines can reach.
  public static func tcp(
    host: String, port: UInt16, anywhere: Bool = true, from open: OpenListeners? = nil
  ) throws(SocketError) -> [Listener] {
    var hints = unsafe addrinfo()
    unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    unsafe hints.ai_flags = AI_PASSIVE
    var found: UnsafeMutablePointer<addrinfo>?
    let failed = unsafe getaddrinfo(host.isEmpty ? nil : host, String(port), &hints, &found)
    guard failed == 0 else {
      throw SocketError("host \(host): \(unsafe String(cString: gai_strerror(failed)))")
    }
    defer { unsafe freeaddrinfo(found) }
    var listeners: [Listener] = []
    var failure = SocketError("host \(host): has no address")
    var next = unsafe found
    var port = port
    while let entry = unsafe next {
      do throws(SocketError) {
        let listener = unsafe try tcp(entry.pointee, port: port, anywhere: anywhere, from: open)
        if case .tcp(let bound) = listener.kind { port = bound }
        listeners.append(listener)
      } catch {
        failure = error
        // A name may have an address of a family that this machine does not use.
        guard errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL else {
          for listener in listeners { close(listener.descriptor) }
          throw error
        }
      }
      unsafe next = entry.pointee.ai_next
    }
    guard !listeners.isEmpty else { throw failure }
    return listeners
  }

  private static func tcp(
    _ info: addrinfo, port: UInt16, anywhere: Bool, from open: OpenListeners?
  ) throws(SocketError) -> Listener {
    var address = sockaddr_in6()
    let size = unsafe Int(info.ai_addrlen)
    unsafe withUnsafeMutableBytes(of: &address) {
      unsafe $0.copyMemory(from: UnsafeRawBufferPointer(start: info.ai_addr, count: size))
    }
    // The port has the same offset in an IPv4 and an IPv6 address.
    address.sin6_port = port.bigEndian
    let isLocal = isLoopback(address)
    guard anywhere || isLocal else { throw openToOthers }
    let host = Self.shown(&address, socklen_t(size))
    let known = open?.take { listener in
      guard case .tcp(let bound) = listener.kind else { return false }
      return listener.address == "\(host):\(bound)" && (port == 0 || port == bound)
    }
    if let known { return known }
    let descriptor = unsafe socket(
      info.ai_family, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw SocketError("socket", errno: errno) }
    var on: Int32 = 1
    unsafe setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, 4)
    if unsafe info.ai_family == AF_INET6 {
      // IPv4 has a listener of its own.
      unsafe setsockopt(descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, &on, 4)
    }
    var length = socklen_t(size)
    let failed = unsafe withUnsafeMutablePointer(to: &address) {
      unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
        unsafe bind(descriptor, address, length) != 0 || listen(descriptor, SOMAXCONN) != 0
          || getsockname(descriptor, address, &length) != 0
      }
    }
    let code = errno
    guard !failed else {
      close(descriptor)
      errno = code
      throw SocketError("listen on \(host):\(port)", errno: code)
    }
    return Listener(descriptor, &address, length)
  }

  /// A socket that listens on an address of IPv4 or IPv6.
  init(_ descriptor: Int32, _ address: inout sockaddr_in6, _ length: socklen_t) {
    let port = UInt16(bigEndian: address.sin6_port)
    self.init(
      descriptor: descriptor, address: "\(Self.shown(&address, length)):\(port)",
      kind: .tcp(port: port), isLocal: Self.isLoopback(address))
  }

  init(descriptor: Int32, address: String, kind: Kind, isLocal: Bool) {
    (self.descriptor, self.address, self.kind, self.isLocal) = (descriptor, address, kind, isLocal)
  }

  /// The error of a listener that only TLS or `--insecure` allows.
  public static let openToOthers = SocketError(
    "other machines can reach it, and could read and write every disk; name an address of this "
      + "machine alone, such as 127.0.0.1, use TLS, or add --insecure")

  /// Listens on a port of vsock, for virtual machines on this host, or for the host itself.
  public static func vsock(
    port: UInt32, from open: OpenListeners? = nil
  ) throws(SocketError) -> Listener {
    if let open = open?.take(where: { $0.kind == .vsock(port: port) }) { return open }
    // `struct sockaddr_vm`: the family, 2 bytes, the port, the context, and zeros.
    var address: [4 of UInt32] = [UInt32(AF_VSOCK), port, UInt32.max, 0]
    let descriptor = socket(AF_VSOCK, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw SocketError("vsock", errno: errno) }
    let failed = unsafe withUnsafeMutablePointer(to: &address) {
      unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe bind(descriptor, $0, 16) != 0 || listen(descriptor, SOMAXCONN) != 0
      }
    }
    guard !failed else {
      let code = errno
      close(descriptor)
      throw SocketError("listen on port \(port) of vsock", errno: code)
    }
    return Listener(
      descriptor: descriptor, address: "\(port)", kind: .vsock(port: port), isLocal: false)
  }

  /// Whether an address is ::1 or in 127.0.0.0/8.
  private static func isLoopback(_ address: sockaddr_in6) -> Bool {
    unsafe withUnsafeBytes(of: address) { bytes in
      unsafe Int32(address.sin6_family) == AF_INET
        ? bytes[4] == 127 : bytes[8..<23].allSatisfy { $0 == 0 } && bytes[23] == 1
    }
  }

  /// The numeric form of an address, as it is written before a port.
  static func shown(_ address: inout sockaddr_in6, _ length: socklen_t) -> String {
    var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
    let size = socklen_t(text.count)
    _ = unsafe withUnsafePointer(to: &address) {
      unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe getnameinfo($0, length, &text, size, nil, 0, NI_NUMERICHOST)
      }
    }
    let host = String(
      decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return host.contains(":") ? "[\(host)]" : host
  }
}

public import Glibc

/// Socket calls that listeners and both ends of a connection share.
public enum Socket {
  /// Makes a Unix socket and calls `use` with it and its address, to bind or connect it. If `use`
  /// does not return 0, closes the socket and throws.
  public static func unix(
    _ path: String, _ use: (Int32, UnsafePointer<sockaddr>, socklen_t) -> Int32
  ) throws(SocketError) -> Int32 {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let room = MemoryLayout.size(ofValue: address.sun_path)
    guard path.utf8.count < room else {
      throw SocketError("socket path \(path): longer than \(room - 1) bytes; choose a shorter one")
    }
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path.utf8) }
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw SocketError("socket", errno: errno) }
    let result = unsafe withUnsafePointer(to: &address) {
      unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe use(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    guard result == 0 else {
      let code = errno
      close(descriptor)
      throw SocketError("socket \(path)", errno: code)
    }
    return descriptor
  }

  /// The user of the process at the other end of a Unix socket; nil for another kind of socket.
  public static func user(of socket: Int32) -> UInt32? {
    // `struct ucred`, which Glibc's module lacks: the process, the user and the group.
    var credentials: [3 of UInt32] = [0, 0, 0]
    var size = socklen_t(12)
    var domain: Int32 = 0
    var domainSize = socklen_t(MemoryLayout<Int32>.size)
    guard unsafe getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &domain, &domainSize) == 0,
      domain == AF_UNIX,
      unsafe getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0
    else { return nil }
    return credentials[1]
  }
}

extension Socket {
  /// The address of the other end of a TCP connection.
  package static func peer(of socket: Int32) -> String? {
    var address = sockaddr_in6()
    var size = socklen_t(MemoryLayout<sockaddr_in6>.size)
    let failed = unsafe withUnsafeMutablePointer(to: &address) {
      unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe getpeername(socket, $0, &size)
      }
    }
    guard failed == 0 else { return nil }
    return "\(Listener.shown(&address, size)):\(UInt16(bigEndian: address.sin6_port))"
  }
}

/// Why a socket could not be made, bound or connected.
public struct SocketError: Error, Sendable, CustomStringConvertible {
  public var description: String
  public init(_ what: String, errno code: Int32? = nil) {
    description = code.map { "\(what): \(unsafe String(cString: strerror($0)))" } ?? what
  }
}

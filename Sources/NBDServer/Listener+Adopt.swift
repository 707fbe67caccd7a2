import Glibc

extension Listener {
  /// Takes a listening socket that another process has opened, and may use again later.
  public static func adopt(_ descriptor: Int32) throws(SocketError) -> Listener {
    var listener = try identify(descriptor)
    listener.isShared = true
    return listener
  }

  /// Takes over a listening socket of a server that ends. From now on it is this one's.
  public static func takeOver(_ descriptor: Int32) throws(SocketError) -> Listener {
    try identify(descriptor)
  }

  private static func identify(_ descriptor: Int32) throws(SocketError) -> Listener {
    func option(_ name: Int32) -> Int32? {
      var value: Int32 = 0
      var size = socklen_t(MemoryLayout<Int32>.size)
      return unsafe getsockopt(descriptor, SOL_SOCKET, name, &value, &size) == 0 ? value : nil
    }
    guard option(SO_TYPE) == Int32(SOCK_STREAM.rawValue), option(SO_ACCEPTCONN) == 1 else {
      throw SocketError("descriptor \(descriptor): is no listening stream socket")
    }
    _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    // If it were non-blocking, each `accept` would be too.
    _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) & ~O_NONBLOCK)
    switch option(SO_DOMAIN) {
    case AF_UNIX:
      var (address, _) = name(descriptor, sockaddr_un())
      let path = unsafe withUnsafeBytes(of: &address.sun_path) {
        unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
      }
      return Listener(descriptor: descriptor, address: path, kind: .unix, isLocal: true)
    case AF_INET, AF_INET6:
      var (address, size) = name(descriptor, sockaddr_in6())
      return Listener(descriptor, &address, size)
    case AF_VSOCK:
      // `struct sockaddr_vm`, as in `vsock(port:)`.
      let (address, _) = name(descriptor, [0, 0, 0, 0] as [4 of UInt32])
      return Listener(
        descriptor: descriptor, address: "\(address[1])", kind: .vsock(port: address[1]),
        isLocal: false)
    default: throw SocketError("descriptor \(descriptor): has a family that is not served")
    }
  }

  /// The address of a socket, in the form of `empty`, and its size.
  private static func name<Address>(
    _ descriptor: Int32, _ empty: Address
  ) -> (Address, socklen_t) {
    var address = empty
    var size = socklen_t(MemoryLayout<Address>.size)
    unsafe withUnsafeMutablePointer(to: &address) {
      _ = unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe getsockname(descriptor, $0, &size)
      }
    }
    return (address, size)
  }
}

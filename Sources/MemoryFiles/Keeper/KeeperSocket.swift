import CLinux
import Glibc

/// The socket of a keeper: packets over a Unix socket in the server's directory.
package enum KeeperSocket {
  /// The longest request or answer, in bytes.
  static let longest = 512

  static func path(in directory: String) -> String { directory + "/keeper.sock" }

  /// Connects to a keeper. Returns nil if none listens there: there is no socket, or a dead keeper left it.
  static func connect(_ path: String) throws(MemoryFileError) -> Int32? {
    let socket = try make()
    if unsafe withAddress(path, { unsafe Glibc.connect(socket, $0, $1) }) == 0 { return socket }
    let code = errno
    close(socket)
    guard code != ENOENT, code != ECONNREFUSED else { return nil }
    throw MemoryFileError("connect to the keeper at \(path)", errno: code)
  }

  /// Listens at the path, in place of a dead keeper's socket. Call this with the lock of the keepers.
  static func listen(_ path: String) throws(MemoryFileError) -> Int32 {
    unsafe unlink(path)
    let socket = try make()
    // A client cannot connect before `listen`, so nobody gets in before the mode is right.
    if unsafe withAddress(path, { unsafe bind(socket, $0, $1) }) == 0,
      unsafe chmod(path, 0o600) == 0,
      Glibc.listen(socket, 64) == 0
    {
      return socket
    }
    let code = errno
    close(socket)
    throw MemoryFileError("listen at \(path)", errno: code)
  }

  /// The process and the user at the other end. For a client, that is who listened last.
  static func peer(of socket: Int32) -> (process: Int32, user: UInt32)? {
    // `struct ucred`, which Glibc's module lacks: the process, the user and the group.
    var credentials: [3 of UInt32] = [0, 0, 0]
    var size = socklen_t(12)
    guard unsafe getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0 else {
      return nil
    }
    return (Int32(bitPattern: credentials[0]), credentials[1])
  }

  /// Whether the other end is this user or root. Root trusts itself with everyone.
  static func isTrusted(_ socket: Int32, byRoot: Bool = false) -> Bool {
    guard let user = peer(of: socket)?.user else { return false }
    return user == geteuid() || user == 0 || byRoot && geteuid() == 0
  }

  /// How long `receive` waits, in seconds; 0 is any time.
  package static func setPatience(_ seconds: Int, of socket: Int32) {
    var limit = timeval(tv_sec: seconds, tv_usec: 0)
    unsafe setsockopt(
      socket, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
  }

  /// Sends a packet. Returns whether the system took it.
  package static func send(_ text: String, to socket: Int32, with descriptor: Int32 = -1) -> Bool {
    let bytes = Array(text.utf8.prefix(longest))
    while true {
      let sent = unsafe hm_send(socket, bytes, bytes.count, descriptor)
      if sent < 0, errno == EINTR { continue }
      return sent == bytes.count
    }
  }

  package enum Received {
    /// A packet, and the descriptor that came with it.
    case packet(String, Int32?)
    case end
    /// An errno: EAGAIN after the time of `setPatience`.
    case failure(Int32)
  }

  package static func receive(from socket: Int32) -> Received {
    var bytes = [UInt8](repeating: 0, count: longest)
    var (descriptor, count): (Int32, Int32) = (-1, 1)
    while true {
      count = 1
      let got = unsafe hm_receive(socket, &bytes, bytes.count, &descriptor, &count)
      if got < 0, errno == EINTR { continue }
      if got < 0 { return .failure(errno) }
      guard got > 0 else {
        if count == 1 { close(descriptor) }
        return .end
      }
      return .packet(
        String(decoding: bytes[..<got], as: UTF8.self), count == 1 ? descriptor : nil)
    }
  }

  private static func make() throws(MemoryFileError) -> Int32 {
    let socket = socket(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard socket >= 0 else { throw MemoryFileError("make a socket", errno: errno) }
    return socket
  }

  private static func withAddress(
    _ path: String, _ use: (UnsafePointer<sockaddr>, socklen_t) -> Int32
  ) -> Int32 {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    guard path.utf8.count < MemoryLayout.size(ofValue: address.sun_path) else {
      errno = ENAMETOOLONG
      return -1
    }
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path.utf8) }
    return unsafe withUnsafePointer(to: &address) {
      unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe use($0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
  }
}

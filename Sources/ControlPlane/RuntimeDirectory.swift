import Glibc
import NBDServer
import Primitives

/// The directory of a server's sockets, which only its user can enter.
public struct RuntimeDirectory: Sendable {
  public let path: String
  /// Where clients find disks: `nbd.sock` in the directory, unless a service manager has opened another.
  public var diskSocket: String
  public var controlSocket: String { path + "/control.sock" }
  private var lockFile: String { path + "/lock" }

  /// Uses `path`, or else the user's default: `$XDG_RUNTIME_DIR/hugemem` or `/tmp/hugemem-UID`.
  public init(_ path: String?) {
    var chosen = absolutePath(path ?? Self.standard)
    while chosen.count > 1, chosen.hasSuffix("/") { chosen.removeLast() }
    self.path = chosen
    diskSocket = chosen + "/nbd.sock"
  }

  private static var standard: String {
    if let runtime = unsafe getenv("XDG_RUNTIME_DIR"), unsafe runtime[0] != 0 {
      return unsafe String(cString: runtime) + "/hugemem"
    }
    return "/tmp/hugemem-\(getuid())"
  }

  /// The URI of a disk, for clients.
  public func uri(_ disk: String) -> String { Self.uri(disk, socket: diskSocket) }

  /// The URI of a disk on a Unix socket.
  public static func uri(_ disk: String, socket: String) -> String {
    "nbd+unix:///\(disk)?socket=\(escaped(socket))"
  }

  /// Percent-encodes the bytes that have a meaning in the query of a URI.
  private static func escaped(_ path: String) -> String {
    var escaped = ""
    for byte in path.utf8 {
      let scalar = Unicode.Scalar(byte)
      let plain =
        "a"..."z" ~= scalar || "A"..."Z" ~= scalar || "0"..."9" ~= scalar
        || "/._-~".unicodeScalars.contains(scalar)
      let digits = String(byte, radix: 16, uppercase: true)
      escaped += plain ? String(Character(scalar)) : "%" + (byte < 16 ? "0" : "") + digits
    }
    return escaped
  }

  /// Throws if the paths of the sockets do not fit an address, which has 108 bytes with the NUL.
  package func checkLength() throws(ControlError) {
    let longest = 107 - "/control.sock".utf8.count
    guard path.utf8.count <= longest else {
      throw ControlError("--directory \(path): too long for a socket; use at most \(longest) bytes")
    }
  }

  /// Makes the directory as `make` does, and locks it for the lifetime of the process. The returned
  /// descriptor holds the lock. The lock file stays at the end: a server that has it open could otherwise
  /// lock a file that no other server can see.
  ///
  /// - Parameter patience: How long a server that is ending may take, in milliseconds.
  public func lock(patience: Int = 0) throws(ControlError) -> Int32 {
    try make()
    let descriptor = unsafe open(lockFile, O_CREAT | O_RDWR | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw failure("open lock file in") }
    guard takeFileLock(descriptor, patience: patience) == 0 else {
      close(descriptor)
      throw ControlError(
        "--directory \(path): another hugemem serves there; choose another directory or stop it")
    }
    return descriptor
  }

  /// Makes the directory, and checks that only this user can enter it.
  package func make() throws(ControlError) {
    try checkLength()
    if unsafe mkdir(path, 0o700) != 0, errno != EEXIST { throw failure("make directory") }
    var status = stat()
    guard unsafe lstat(path, &status) == 0 else { throw failure("look at directory") }
    guard status.st_mode & S_IFMT != S_IFLNK else {
      throw ControlError("--directory \(path): is a link; name the directory that it leads to")
    }
    guard status.st_mode & S_IFMT == S_IFDIR else {
      throw ControlError("--directory \(path): is not a directory")
    }
    guard status.st_uid == getuid(), status.st_mode & 0o077 == 0 else {
      throw ControlError(
        "--directory \(path): must be yours and open to nobody else (chmod 0700), since anyone who "
          + "can reach the sockets in it can read every disk")
    }
  }

  private func failure(_ what: String) -> ControlError {
    ControlError("\(what) \(path): \(unsafe String(cString: strerror(errno)))")
  }
}

/// Makes a path absolute, so that it means the same in every process.
public func absolutePath(_ path: String) -> String {
  guard !path.hasPrefix("/"), let here = unsafe getcwd(nil, 0) else { return path }
  defer { unsafe free(here) }
  return unsafe String(cString: here) + "/" + path
}

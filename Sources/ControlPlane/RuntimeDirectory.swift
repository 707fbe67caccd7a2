import Glibc
import NBDServer

/// Where a server's sockets are: a directory for its user alone.
public struct RuntimeDirectory: Sendable {
  public let path: String
  public var diskSocket: String { path + "/nbd.sock" }
  public var controlSocket: String { path + "/control.sock" }
  private var lockFile: String { path + "/lock" }

  /// `path`, or the user's default: `$XDG_RUNTIME_DIR/hugemem`, else `/tmp/hugemem-UID`.
  public init(_ path: String?) {
    var chosen = absolutePath(path ?? Self.standard)
    while chosen.count > 1, chosen.hasSuffix("/") { chosen.removeLast() }
    self.path = chosen
  }

  private static var standard: String {
    if let runtime = unsafe getenv("XDG_RUNTIME_DIR"), unsafe runtime[0] != 0 {
      return unsafe String(cString: runtime) + "/hugemem"
    }
    return "/tmp/hugemem-\(getuid())"
  }

  /// The URI of a disk, ready to paste.
  public func uri(_ disk: String) -> String {
    "nbd+unix:///\(disk)?socket=\(Self.escaped(diskSocket))"
  }

  /// Percent-encodes what has a meaning in a URI's query.
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

  /// Throws if the sockets' paths would not fit an address: with a NUL, 108 bytes.
  func checkLength() throws(ControlError) {
    let longest = 107 - "/control.sock".utf8.count
    guard path.utf8.count <= longest else {
      throw ControlError("--directory \(path): too long for a socket, at most \(longest) bytes")
    }
  }

  /// Makes the directory, checks that it is this user's alone, and locks it for the lifetime of
  /// the process. The descriptor returned holds the lock.
  public func lock() throws(ControlError) -> Int32 {
    try checkLength()
    if unsafe mkdir(path, 0o700) != 0, errno != EEXIST { throw failure("make directory") }
    var status = stat()
    guard unsafe lstat(path, &status) == 0 else { throw failure("look at directory") }
    guard status.st_mode & S_IFMT == S_IFDIR else {
      throw ControlError("--directory \(path): is not a directory")
    }
    guard status.st_uid == getuid(), status.st_mode & 0o077 == 0 else {
      throw ControlError(
        "--directory \(path): must be yours and open to nobody else (chmod 0700), since whoever can "
          + "reach the sockets in it can read every disk")
    }
    let descriptor = unsafe open(lockFile, O_CREAT | O_RDWR | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw failure("open lock file in") }
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
      close(descriptor)
      throw ControlError(
        "--directory \(path): another hugemem serves there; choose another directory or stop it")
    }
    return descriptor
  }

  /// Removes the sockets at the end; the locked file stays, so that nobody locks a dead one.
  public func clean() {
    unsafe unlink(diskSocket)
    unsafe unlink(controlSocket)
  }

  private func failure(_ what: String) -> ControlError {
    ControlError("\(what) \(path): \(unsafe String(cString: strerror(errno)))")
  }
}

/// A path that means the same in every process, wherever that runs.
public func absolutePath(_ path: String) -> String {
  guard !path.hasPrefix("/"), let here = unsafe getcwd(nil, 0) else { return path }
  defer { unsafe free(here) }
  return unsafe String(cString: here) + "/" + path
}

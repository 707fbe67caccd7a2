import Glibc

/// The file that an export writes. The process that names it opens it: the command, with the rights
/// of its user.
///
/// A regular file is replaced as a whole, by a temporary file in the same directory that is renamed
/// when it is complete. Until then the old contents stay. The temporary file has no name where the
/// file system allows that, and is then gone if the process dies. As with `cp`, links are followed,
/// and the file keeps its mode.
public struct ExportFile: ~Copyable {
  /// The open file, to which the server writes.
  public let file: OpenFile
  /// The name for messages.
  public let name: String
  /// The path of the file to replace, without links. Nil if `file` is written in place.
  private let target: String?
  /// The temporary file's name, if it has one.
  public private(set) var temporary: String?

  /// Opens a path, or standard output for `-`. Without `streams`, anything but a regular file or block
  /// device is refused, and the call never blocks.
  public init(path: String, streams: Bool = true) throws(ControlError) {
    if path == "-", streams {
      let file = try OpenFile(fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0), "standard output")
      try self.init(file, name: "standard output")
      return
    }
    var status = stat()
    guard unsafe stat(path, &status) == 0 else {
      guard errno == ENOENT else { throw ControlError("look at \(path)", errno: errno) }
      guard unsafe lstat(path, &status) != 0 else {
        throw ControlError(
          "\(path): is a link to a file that does not exist; name that file, or remove the link")
      }
      try self.init(replacing: path, mode: nil)
      return
    }
    switch status.st_mode & S_IFMT {
    case S_IFDIR: throw ControlError("\(path): is a directory; name a file in it")
    case S_IFREG:
      guard let whole = unsafe realpath(path, nil), unsafe access(path, W_OK) == 0 else {
        throw ControlError("open \(path)", errno: errno)
      }
      defer { unsafe free(whole) }
      try self.init(replacing: unsafe String(cString: whole), mode: status.st_mode & 0o7777)
    case let kind:
      guard streams || kind == S_IFBLK else {
        throw ControlError("\(path): exists and is neither a file nor a block device")
      }
      // O_EXCL refuses a device with a mounted file system.
      let flags = O_WRONLY | O_CLOEXEC | (kind == S_IFBLK ? O_EXCL : 0)
      try self.init(OpenFile(unsafe open(path, flags), "open \(path)"), name: path)
    }
  }

  /// Makes a target that is written in place.
  init(_ file: OpenFile, name: String) throws(ControlError) {
    guard isatty(file.descriptor) == 0 else {
      throw ControlError("\(name): is a terminal; pipe the image to a command, or name a file")
    }
    self.file = file
    self.name = name
    target = nil
  }

  /// Makes a temporary file beside `target`.
  private init(replacing target: String, mode: mode_t?) throws(ControlError) {
    let directory = Self.directory(of: target)
    // O_TMPFILE, which Glibc's module lacks.
    var descriptor = unsafe open(directory, 0o20_200_000 | O_WRONLY | O_CLOEXEC, 0o666)
    if descriptor < 0, errno == EOPNOTSUPP || errno == EISDIR {
      let path = directory + "/" + Self.randomName()
      descriptor = unsafe open(
        path, O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY | O_CLOEXEC, 0o666)
      temporary = descriptor < 0 ? nil : path
    }
    file = try OpenFile(descriptor, "make a temporary file in \(directory)")
    name = target
    self.target = target
    if let mode { fchmod(descriptor, mode) }
  }

  deinit { if let temporary { unsafe unlink(temporary) } }

  /// Replaces the old contents by the new ones, after a sync of those.
  public consuming func commit() throws(ControlError) {
    guard let target else { return }
    let descriptor = file.descriptor
    guard fsync(descriptor) == 0 else { throw ControlError("sync \(name)", errno: errno) }
    if temporary == nil {
      let linked = Self.directory(of: target) + "/" + Self.randomName()
      // AT_FDCWD and AT_SYMLINK_FOLLOW: Linux's way to give a name to a file without one.
      guard unsafe linkat(-100, "/proc/self/fd/\(descriptor)", -100, linked, 0x400) == 0 else {
        throw ControlError("name the temporary file of \(name)", errno: errno)
      }
      temporary = linked
    }
    guard let complete = temporary, unsafe rename(complete, target) == 0 else {
      throw ControlError("replace \(name)", errno: errno)
    }
    temporary = nil
  }

  private static func directory(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }

  private static func randomName() -> String {
    ".hugemem-export-" + String(UInt64.random(in: .min ... .max), radix: 16)
  }
}

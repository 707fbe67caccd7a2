import Glibc

/// A raw image to read. It is a regular file or a block device, whose holes are skipped, or a
/// stream (pipe, FIFO, socket, character device), whose size is known only at its end.
public struct ImageSource {
  public let file: OpenFile
  /// The name for messages.
  public let name: String
  /// The position of the first byte.
  let start: Int
  /// In bytes. Nil for a stream.
  let size: UInt64?

  var descriptor: Int32 { file.descriptor }

  /// A regular file is read from its current offset, as `cat` does.
  init(_ file: OpenFile, name: String) throws(ControlError) {
    self.file = file
    self.name = name
    let descriptor = file.descriptor
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0 else {
      throw ControlError("look at \(name)", errno: errno)
    }
    switch status.st_mode & S_IFMT {
    case S_IFDIR: throw ControlError("\(name): is a directory, not a disk image")
    case S_IFREG, S_IFBLK:
      start = max(0, lseek(descriptor, 0, SEEK_CUR))
      let end = lseek(descriptor, 0, SEEK_END)
      // The process that opened the file shares the offset. Put it back where it was.
      lseek(descriptor, start, SEEK_SET)
      // Files of /proc have no end to seek to; they are read as streams.
      size = end < 0 ? nil : UInt64(max(0, end - start))
    default:
      guard isatty(descriptor) == 0 else {
        throw ControlError("\(name): is a terminal; pipe an image into the command, or name a file")
      }
      start = 0
      size = nil
    }
  }

  /// Opens a path, or standard input for `-`. Without `streams`, anything but a regular file or block
  /// device is refused, and the call never blocks.
  public init(path: String, streams: Bool = true) throws(ControlError) {
    if path == "-", streams {
      let file = try OpenFile(fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0), "standard input")
      try self.init(file, name: "standard input")
      return
    }
    let flags = O_RDONLY | O_CLOEXEC | (streams ? 0 : O_NONBLOCK)
    try self.init(OpenFile(unsafe open(path, flags), "open \(path)"), name: path)
    guard streams || size != nil else {
      throw ControlError("\(path): is neither a file nor a block device")
    }
  }
}

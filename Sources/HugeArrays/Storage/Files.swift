import Glibc

/// A file that is being written beside the one that it replaces.
struct OutputFile: ~Copyable {
  private let descriptor: Int32
  private let path: String

  /// Calls `write` with a new file and renames that to `path` if all went well. If not, `path` is as
  /// it was.
  static func replace(
    _ path: String, _ write: (borrowing OutputFile) throws(HugeArrayFileError) -> Void
  ) throws(HugeArrayFileError) {
    var target = path
    var mode: mode_t?
    var status = stat()
    if unsafe stat(path, &status) == 0 {
      guard status.st_mode & S_IFMT == S_IFREG else {
        throw HugeArrayFileError(path: path, reason: "is no regular file")
      }
      mode = status.st_mode & 0o777
      // The file that a link leads to is replaced, not the link.
      if let real = unsafe realpath(path, nil) {
        target = unsafe String(cString: real)
        unsafe free(real)
      }
    } else if unsafe lstat(path, &status) == 0 {
      throw HugeArrayFileError(path: path, reason: "is a link to a file that does not exist")
    }
    let directory = target.lastIndex(of: "/").map { String(target[...$0]) } ?? ""
    let temporary = "\(directory).hugearray-\(String(UInt64.random(in: 0 ... .max), radix: 36))"
    let descriptor = unsafe open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
    guard descriptor >= 0 else { throw failure(path, "create a file beside it") }
    do throws(HugeArrayFileError) {
      let file = OutputFile(descriptor: descriptor, path: path)
      try write(file)
      if let mode { fchmod(descriptor, mode) }
      guard fsync(descriptor) == 0 else { throw failure(path, "write") }
      guard unsafe rename(temporary, target) == 0 else { throw failure(path, "rename") }
    } catch {
      unsafe unlink(temporary)
      throw error
    }
  }

  private init(descriptor: Int32, path: String) {
    self.descriptor = descriptor
    self.path = path
  }
  deinit { close(descriptor) }

  func setSize(_ bytes: Int) throws(HugeArrayFileError) {
    guard ftruncate(descriptor, bytes) == 0 else { throw failure(path, "set its size") }
  }

  func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(HugeArrayFileError) {
    var done = 0
    while done < bytes.count {
      let count = unsafe pwrite(
        descriptor, bytes.baseAddress.unsafelyUnwrapped + done, bytes.count - done, offset + done)
      if count > 0 { done += count } else if errno != EINTR { throw failure(path, "write") }
    }
  }
}

/// A regular file that is read.
struct InputFile: ~Copyable {
  private let descriptor: Int32
  private let path: String
  /// In bytes.
  let size: Int

  init(_ path: String) throws(HugeArrayFileError) {
    // Without waiting for a writer, should it be a pipe.
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw failure(path, "open") }
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      close(descriptor)
      throw HugeArrayFileError(path: path, reason: "is no regular file")
    }
    self.descriptor = descriptor
    self.path = path
    size = status.st_size
  }
  deinit { close(descriptor) }

  /// `SEEK_DATA`, which Glibc's module lacks.
  private static let seekData: Int32 = 3

  /// Where the next data is, at or after an offset; nil if there is none.
  func data(from offset: Int) throws(HugeArrayFileError) -> Int? {
    guard offset < size else { return nil }
    let found = lseek(descriptor, offset, Self.seekData)
    if found >= 0 { return found < size ? found : nil }
    if errno == ENXIO { return nil }
    // A file system without holes.
    guard errno == EINVAL || errno == EOPNOTSUPP else { throw failure(path, "look for data") }
    return offset
  }

  /// Fills a buffer from an offset on, up to the size that the file had. Returns the number of bytes.
  func read(
    into buffer: UnsafeMutableRawBufferPointer, at offset: Int
  ) throws(HugeArrayFileError) -> Int {
    let wanted = min(buffer.count, size - offset)
    var done = 0
    while done < wanted {
      let count = unsafe pread(
        descriptor, buffer.baseAddress.unsafelyUnwrapped + done, wanted - done, offset + done)
      if count == 0 {
        throw HugeArrayFileError(path: path, reason: "became shorter while it was read")
      }
      if count > 0 { done += count } else if errno != EINTR { throw failure(path, "read") }
    }
    return done
  }
}

/// Why a system call failed, from `errno`.
private func failure(_ path: String, _ what: String) -> HugeArrayFileError {
  let reason = unsafe String(cString: strerror(errno))
  return HugeArrayFileError(path: path, reason: "cannot \(what): \(reason)")
}

import Glibc
import Primitives

/// The directory of a checkpoint, by its descriptor: whoever opens it decides with whose rights.
///
/// - Thread safety: you may use it on any thread.
public final class CheckpointDirectory: Sendable {
  private let owned: OwnedDescriptor
  var descriptor: Int32 { owned.number }
  /// What identifies the directory, whatever its name.
  public let identity: Identity

  public struct Identity: Hashable, Sendable {
    var device: UInt64
    var inode: UInt64
  }

  /// Takes over the descriptor of a directory.
  public init(descriptor: Int32) throws(CheckpointError) {
    owned = OwnedDescriptor(descriptor)
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else {
      identity = Identity(device: 0, inode: 0)
      throw .file("the directory", call: "open", errno: ENOTDIR)
    }
    identity = Identity(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
  }

  /// Opens a directory.
  public convenience init(path: String) throws(CheckpointError) {
    let descriptor = unsafe Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw .file(path, call: "open", errno: errno) }
    try self.init(descriptor: descriptor)
  }

  /// Keeps other servers from writing a checkpoint here meanwhile, where the file system has locks for
  /// directories; NFS has none. It is unlocked here, since who passed the descriptor shares it.
  func locked<Result>(_ body: () throws -> Result) throws -> Result {
    if flock(descriptor, LOCK_EX | LOCK_NB) != 0, errno == EWOULDBLOCK {
      throw CheckpointIsRunning(isOfAnotherServer: true)
    }
    defer { flock(descriptor, LOCK_UN) }
    return try body()
  }

  /// Closes the directory when nobody uses it any more, whoever still has a reference.
  public func close() { owned.close() }

  /// Opens a file to read.
  func open(_ name: String) throws(CheckpointError) -> File {
    try open(name, O_RDONLY, call: "open")
  }

  /// Opens a file of pages, which must have the size that it was written with.
  func open(_ segment: Manifest.Segment) throws(CheckpointError) -> File {
    let file = try open(segment.name)
    guard file.size == Int(segment.pages) * (SegmentWriter.pageSize + 4) else {
      throw .damaged(segment.name, reason: "has another size than it should have")
    }
    return file
  }

  /// Makes a file, which must not be there: so it is nobody else's. Its owner alone may read it, as the
  /// disks of a server.
  func make(_ name: String) throws(CheckpointError) -> File {
    try open(name, O_WRONLY | O_CREAT | O_EXCL, call: "make")
  }

  private func open(
    _ name: String, _ flags: Int32, call: String
  ) throws(CheckpointError) -> File {
    let file = unsafe openat(descriptor, name, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0o600)
    guard file >= 0 else { throw .file(name, call: call, errno: errno) }
    return File(descriptor: file, name: name)
  }

  /// Whether there is a file of this name, as far as one can see.
  func has(_ name: String) -> Bool {
    unsafe faccessat(descriptor, name, F_OK, 0) == 0 || errno != ENOENT
  }

  /// Gives a file another name, in place of what had it.
  func rename(_ old: String, to new: String) throws(CheckpointError) {
    guard unsafe renameat(descriptor, old, descriptor, new) == 0 else {
      throw .file(new, call: "replace", errno: errno)
    }
  }

  /// Waits until the names are on the disk.
  func sync() throws(CheckpointError) {
    guard fsync(descriptor) == 0 else { throw .file("the directory", call: "sync", errno: errno) }
  }

  func remove(_ name: String) { unsafe unlinkat(descriptor, name, 0) }

  /// The names of the files in it.
  func names() -> [String] {
    let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
    guard let stream = unsafe fdopendir(copy) else { return [] }
    defer { unsafe closedir(stream) }
    unsafe rewinddir(stream)
    var names: [String] = []
    while let entry = unsafe readdir(stream) {
      names.append(
        unsafe withUnsafePointer(to: &entry.pointee.d_name) { name in
          unsafe name.withMemoryRebound(to: CChar.self, capacity: 256) {
            unsafe String(cString: $0)
          }
        })
    }
    return names
  }

  /// A file of the directory.
  struct File: ~Copyable {
    let descriptor: Int32
    let name: String
    deinit { Glibc.close(descriptor) }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(CheckpointError) {
      var done = 0
      while done < bytes.count {
        let put = unsafe pwrite(
          descriptor, bytes.baseAddress.unsafelyUnwrapped + done, bytes.count - done,
          offset + done)
        if put < 0 && errno == EINTR { continue }
        guard put > 0 else { throw .file(name, call: "write", errno: errno) }
        done += put
      }
    }

    /// Fills a buffer. Throws if the file is shorter.
    func read(
      into buffer: UnsafeMutableRawBufferPointer, at offset: Int
    ) throws(CheckpointError) {
      var done = 0
      while done < buffer.count {
        let got = unsafe pread(
          descriptor, buffer.baseAddress.unsafelyUnwrapped + done, buffer.count - done,
          offset + done)
        if got < 0 && errno == EINTR { continue }
        guard got >= 0 else { throw .file(name, call: "read", errno: errno) }
        guard got > 0 else { throw .damaged(name, reason: "is too short") }
        done += got
      }
    }

    /// In bytes.
    var size: Int {
      var status = stat()
      return unsafe fstat(descriptor, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
        ? Int(status.st_size) : -1
    }

    func sync() throws(CheckpointError) {
      guard fsync(descriptor) == 0 else { throw .file(name, call: "sync", errno: errno) }
    }
  }
}

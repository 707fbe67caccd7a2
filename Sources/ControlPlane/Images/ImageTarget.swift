import CLinux
import Glibc

/// What an export writes to: a regular file, in which holes stay holes; a block device, whose
/// unused ranges are zeroed; or a stream, which gets every byte in order.
struct ImageTarget {
  private enum Kind {
    /// A file that has nothing yet from this position on.
    case sparse(from: Int)
    case device
    case stream
  }

  /// The most bytes that a blocking pipe takes without blocking when it is ready: Linux's PIPE_BUF.
  private static let pipeBuffer = 4096
  @safe nonisolated(unsafe) private static let zeros: UnsafeRawBufferPointer = {
    let zeros = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 4096)
    unsafe zeros.initializeMemory(as: UInt8.self, repeating: 0)
    return UnsafeRawBufferPointer(zeros)
  }()

  private let file: OpenFile
  private let name: String
  private let kind: Kind
  private let caller: Caller

  private var descriptor: Int32 { file.descriptor }

  /// Makes a target for an image of `size` bytes.
  init(_ file: OpenFile, name: String, size: UInt64, caller: Caller) throws(ControlError) {
    self.file = file
    let descriptor = file.descriptor
    self.name = name
    self.caller = caller
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0 else {
      throw ControlError("look at \(name)", errno: errno)
    }
    switch status.st_mode & S_IFMT {
    case S_IFREG:
      let at = lseek(descriptor, 0, SEEK_CUR)
      let appends = fcntl(descriptor, F_GETFL) & O_APPEND != 0
      kind = appends || at < status.st_size ? .stream : .sparse(from: at)
    case S_IFBLK:
      let room = lseek(descriptor, 0, SEEK_END)
      guard room >= 0, UInt64(room) >= size else {
        throw ControlError("\(name): has \(room) bytes, the disk has \(size); use a larger device")
      }
      kind = .device
    default:
      kind = .stream
      // A larger pipe needs fewer switches between its two sides. Other kinds of files ignore this.
      _ = fcntl(descriptor, 1031 /* F_SETPIPE_SZ */, 1 << 20)
    }
  }

  /// Writes the bytes at `offset` in the disk. Call this and `zero` in order and without gaps.
  func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(ControlError) {
    try caller.check()
    var done = 0
    while done < bytes.count {
      let rest = unsafe UnsafeRawBufferPointer(rebasing: bytes[done...])
      let put: Int
      switch kind {
      case .sparse(let from):
        unsafe put = pwrite(descriptor, rest.baseAddress, rest.count, from + Int(offset) + done)
      case .device:
        unsafe put = pwrite(descriptor, rest.baseAddress, rest.count, Int(offset) + done)
      case .stream:
        try caller.wait(for: descriptor, POLLOUT)
        unsafe put = Glibc.write(descriptor, rest.baseAddress, min(rest.count, Self.pipeBuffer))
      }
      if put < 0, errno == EINTR || errno == EAGAIN { continue }
      guard put > 0 else { throw ControlError("write \(name)", errno: put < 0 ? errno : ENOSPC) }
      done += put
    }
  }

  /// Makes a range zeros.
  func zero(from start: UInt64, to end: UInt64) throws(ControlError) {
    if case .sparse = kind { return }
    var at = start
    while at < end {
      if case .device = kind {
        // Steps of 64 MiB still end within a second. If a device cannot zero a range, write zeros.
        let part = min(end - at, 64 << 20)
        try caller.check()
        if hm_zero_range(descriptor, Int64(at), Int64(part)) == 0 {
          at += part
          continue
        }
      }
      let part = Int(min(end - at, UInt64(Self.zeros.count)))
      unsafe try write(UnsafeRawBufferPointer(rebasing: Self.zeros[..<part]), at: at)
      at += UInt64(part)
    }
  }

  /// Gives a file its size, and leaves the offset at its end, as a program that writes in order
  /// does.
  func finish(size: UInt64) throws(ControlError) {
    guard case .sparse(let from) = kind else { return }
    let end = from + Int(size)
    guard ftruncate(descriptor, end) == 0 else {
      throw ControlError("resize \(name)", errno: errno)
    }
    lseek(descriptor, end, SEEK_SET)
  }
}

import Glibc
public import HugeMemory

/// A raw disk image in a file or block device, being copied in or out.
public enum DiskFile {
  /// Called with the bytes done and the bytes in all, about every 32 MiB.
  public typealias Progress = (UInt64, UInt64) -> Void

  static let chunk = 2 << 20
  // Linux's SEEK_DATA and SEEK_HOLE, which Glibc's module lacks.
  private static let seekData: Int32 = 3
  private static let seekHole: Int32 = 4

  /// A new space with the file's contents. Holes stay holes, and so do blocks of 4 KiB that are
  /// all zeros. `prepare` sees the space before anything is in it.
  public static func load(
    _ path: String, into machine: Machine, progress: Progress,
    prepare: (AddressSpace) throws -> Void = { _ in }
  ) throws(ControlError) -> AddressSpace {
    let file = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { throw failure("open \(path)") }
    defer { close(file) }
    var status = stat()
    guard unsafe fstat(file, &status) == 0 else { throw failure("look at \(path)") }
    let kind = status.st_mode & S_IFMT
    guard kind == S_IFREG || kind == S_IFBLK else {
      throw ControlError("\(path): is neither a file nor a block device")
    }
    let end = lseek(file, 0, SEEK_END)
    guard end > 0 else { throw ControlError("\(path): is empty; a disk has at least 1 byte") }
    try refuseFormats(file, path)
    do {
      let space = try machine.makeSpace(size: UInt64(end))
      try prepare(space)
      try copy(file, path, into: space, progress: progress)
      return space
    } catch let error as MemoryError {
      throw ControlError("\(path): \(error)")
    } catch let error as ControlError {
      throw error
    } catch {
      throw ControlError("\(path): \(error)")
    }
  }

  private static func copy(
    _ file: Int32, _ path: String, into space: AddressSpace, progress: Progress
  ) throws {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: chunk, alignment: 4096)
    defer { unsafe buffer.deallocate() }
    let size = Int(space.size)
    var at = 0
    while at < size {
      let data = lseek(file, at, seekData)
      // ENXIO: a hole up to the end. A file system without holes answers `at`.
      if data < 0, errno == ENXIO { break }
      at = data < 0 ? at : data & ~4095
      let hole = lseek(file, at, seekHole)
      let limit = hole > at ? hole : size
      while at < limit {
        // Chunks end at multiples of 2 MiB, so that dense data takes huge frames.
        let count = min(limit - at, chunk - at & (chunk - 1))
        let got = unsafe pread(file, buffer.baseAddress.unsafelyUnwrapped, count, at)
        guard got > 0 else {
          throw got < 0 ? failure("read \(path)") : ControlError("\(path): became shorter")
        }
        unsafe try write(UnsafeRawBufferPointer(rebasing: buffer[..<got]), at: at, to: space)
        at += got
        if at & (32 << 20 - 1) == 0 { progress(UInt64(at), UInt64(size)) }
      }
    }
    progress(UInt64(size), UInt64(size))
  }

  /// Writes runs of blocks that have a byte other than 0.
  private static func write(
    _ bytes: UnsafeRawBufferPointer, at offset: Int, to space: AddressSpace
  ) throws(MemoryError) {
    var start = 0
    while start < bytes.count {
      var end = start
      while end < bytes.count, unsafe !isZero(bytes, end) { end = min(end + 4096, bytes.count) }
      if end > start {
        unsafe try space.write(
          at: UInt64(offset) + UInt64(start),
          from: UnsafeRawBufferPointer(rebasing: bytes[start..<end]))
      }
      start = end + 4096
    }
  }

  /// Whether the block at `start`, of 4 KiB or up to the end, is all zeros.
  private static func isZero(_ bytes: UnsafeRawBufferPointer, _ start: Int) -> Bool {
    let block = unsafe UnsafeRawBufferPointer(
      rebasing: bytes[start..<min(start + 4096, bytes.count)])
    let first = unsafe block.baseAddress.unsafelyUnwrapped
    // All bytes equal to their neighbour, and the first is zero.
    return unsafe block[0] == 0 && memcmp(first, first + 1, block.count - 1) == 0
  }

  /// An image in another format would be served as the bytes of its container.
  private static func refuseFormats(_ file: Int32, _ path: String) throws(ControlError) {
    var magic: UInt32 = 0
    guard unsafe pread(file, &magic, 4, 0) == 4 else { return }
    let formats: [UInt32: String] = [0x5146_49fb: "qcow2", 0x4b44_4d56: "vmdk"]
    if let format = formats[UInt32(bigEndian: magic)] {
      throw ControlError(
        "\(path): is a \(format) image, not a raw one; convert it: "
          + "qemu-img convert -O raw \(path) OUTPUT")
    }
  }

  /// Writes the contents to a sparse file. The file appears, or is replaced, only when all is
  /// there.
  public static func save(
    _ space: AddressSpace, to path: String, progress: Progress
  ) throws(ControlError) {
    var status = stat()
    if unsafe stat(path, &status) == 0, status.st_mode & S_IFMT != S_IFREG {
      throw ControlError("\(path): exists and is not a file; to fill a device use nbdcopy")
    }
    let partial = path + ".partial"
    let file = unsafe open(partial, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0o644)
    guard file >= 0 else { throw failure("open \(partial)") }
    defer { close(file) }
    do {
      guard ftruncate(file, off_t(space.size)) == 0 else { throw failure("resize \(partial)") }
      try write(space, file, partial, progress: progress)
      guard fsync(file) == 0 else { throw failure("sync \(partial)") }
      guard unsafe rename(partial, path) == 0 else { throw failure("rename \(partial)") }
    } catch {
      unsafe unlink(partial)
      throw error as? ControlError ?? ControlError("\(path): \(error)")
    }
  }

  private static func write(
    _ space: AddressSpace, _ file: Int32, _ path: String, progress: Progress
  ) throws {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: chunk, alignment: 4096)
    defer { unsafe buffer.deallocate() }
    var at: UInt64 = 0
    while at < space.size {
      let extent = try space.firstExtent(at: at, length: space.size - at)
      while extent.kind == .data, at < extent.end {
        let count = Int(min(extent.end - at, UInt64(chunk)))
        let part = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])
        unsafe try space.read(at: at, into: part)
        var done = 0
        while done < count {
          let put = unsafe pwrite(
            file, part.baseAddress.unsafelyUnwrapped + done, count - done, off_t(at) + off_t(done))
          guard put > 0 else { throw failure("write \(path)") }
          done += put
        }
        at += UInt64(count)
        if at & (32 << 20 - 1) == 0 { progress(at, space.size) }
      }
      at = extent.end
    }
    progress(space.size, space.size)
  }

  private static func failure(_ what: String) -> ControlError {
    ControlError("\(what): \(unsafe String(cString: strerror(errno)))")
  }
}

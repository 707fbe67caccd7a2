import Glibc
public import HugeMemory

/// Copies raw disk images into spaces and out of them.
public enum DiskFile {
  /// Called about every 32 MiB with the bytes done and the total, which is 0 if it is unknown.
  public typealias Progress = (UInt64, UInt64) -> Void

  /// Chunks end at multiples of 2 MiB, so that dense data takes huge frames.
  private static let chunk = 2 << 20
  // Linux's SEEK_DATA and SEEK_HOLE, which Glibc's module lacks.
  private static let seekData: Int32 = 3
  private static let seekHole: Int32 = 4

  /// Returns a new space with the image's contents, and the disk's size in bytes. Holes, and blocks
  /// of 4 KiB that are all zeros, become holes. `prepare` gets the space before anything is written
  /// to it.
  ///
  /// `size` is the disk's size, if that is not the image's. A larger image is refused. For a stream
  /// without a `size`, the space is as large as a space can be.
  public static func load(
    _ source: ImageSource, size: UInt64? = nil, into machine: Machine,
    caller: Caller = .none, progress: Progress, prepare: (AddressSpace) throws -> Void = { _ in }
  ) throws(ControlError) -> (space: AddressSpace, size: UInt64) {
    do {
      if let size, let there = source.size, there > size { throw tooLarge(source.name, size) }
      let wanted = size ?? source.size
      guard wanted != 0 else {
        throw ControlError("\(source.name): is empty; a disk must have at least 1 byte")
      }
      let space = try machine.makeDiskSpace(size: wanted ?? AddressSpace.maximalSize)
      try prepare(space)
      if source.size != nil {
        try copyFile(source, into: space, caller, progress)
        return (space, wanted ?? space.size)
      }
      let received = try copyStream(source, into: space, wanted, caller, progress)
      guard wanted ?? received > 0 else {
        throw ControlError("\(source.name): ended before its first byte; a disk needs at least one")
      }
      return (space, wanted ?? received)
    } catch let error as ControlError {
      throw error
    } catch {
      throw ControlError("\(source.name): \(error)", because: error)
    }
  }

  private static func copyFile(
    _ source: ImageSource, into space: AddressSpace, _ caller: Caller,
    _ progress: Progress
  ) throws {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: chunk, alignment: 4096)
    defer { unsafe buffer.deallocate() }
    let (file, start, size) = (source.descriptor, source.start, Int(source.size ?? 0))
    var at = 0
    while at < size {
      let data = lseek(file, start + at, seekData)
      // ENXIO means a hole up to the end. A file system without holes returns the offset itself.
      if data < 0, errno == ENXIO { break }
      at = data < 0 ? at : max(at, (data - start) & ~4095)
      let hole = lseek(file, start + at, seekHole) - start
      let limit = hole > at ? min(hole, size) : size
      while at < limit {
        try caller.check()
        let count = min(limit - at, chunk - at & (chunk - 1))
        let got = unsafe pread(file, buffer.baseAddress.unsafelyUnwrapped, count, start + at)
        if got < 0, errno == EINTR { continue }
        guard got > 0 else {
          throw got < 0
            ? ControlError("read \(source.name)", errno: errno)
            : ControlError("\(source.name): became shorter while it was read")
        }
        let bytes = unsafe UnsafeRawBufferPointer(rebasing: buffer[..<got])
        unsafe try write(bytes, at: at, of: source.name, to: space)
        at += got
        if at & (32 << 20 - 1) == 0 { progress(UInt64(at), UInt64(size)) }
      }
    }
    // Leave the offset where a program that reads in order leaves it.
    lseek(file, start + size, SEEK_SET)
    progress(UInt64(size), UInt64(size))
  }

  /// Returns the number of bytes received.
  private static func copyStream(
    _ source: ImageSource, into space: AddressSpace, _ limit: UInt64?, _ caller: Caller,
    _ progress: Progress
  ) throws -> UInt64 {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: chunk, alignment: 4096)
    defer { unsafe buffer.deallocate() }
    var (at, isAtEnd) = (0, false)
    while !isAtEnd {
      var filled = 0
      while filled < chunk, !isAtEnd {
        try caller.wait(for: source.descriptor, POLLIN)
        let got = unsafe read(
          source.descriptor, buffer.baseAddress.unsafelyUnwrapped + filled, chunk - filled)
        if got < 0, errno == EINTR || errno == EAGAIN { continue }
        guard got >= 0 else { throw ControlError("read \(source.name)", errno: errno) }
        filled += got
        isAtEnd = got == 0
      }
      guard UInt64(at + filled) <= limit ?? AddressSpace.maximalSize else {
        throw tooLarge(source.name, limit ?? AddressSpace.maximalSize)
      }
      let bytes = unsafe UnsafeRawBufferPointer(rebasing: buffer[..<filled])
      unsafe try write(bytes, at: at, of: source.name, to: space)
      at += filled
      if at & (32 << 20 - 1) == 0 || isAtEnd { progress(UInt64(at), limit ?? 0) }
    }
    return UInt64(at)
  }

  /// Writes the blocks that are not all zeros, a run of adjacent ones at a time.
  private static func write(
    _ bytes: UnsafeRawBufferPointer, at offset: Int, of name: String, to space: AddressSpace
  ) throws {
    if offset == 0 { unsafe try refuseFormats(bytes, name) }
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

  /// Whether the block at `start` is all zeros. It ends after 4 KiB or at the end of `bytes`.
  private static func isZero(_ bytes: UnsafeRawBufferPointer, _ start: Int) -> Bool {
    let block = unsafe UnsafeRawBufferPointer(
      rebasing: bytes[start..<min(start + 4096, bytes.count)])
    let first = unsafe block.baseAddress.unsafelyUnwrapped
    // All bytes are equal to their neighbours, and the first is zero.
    return unsafe block[0] == 0 && memcmp(first, first + 1, block.count - 1) == 0
  }

  /// Refuses other formats. The disk would have the bytes of the container, not those of the image.
  private static func refuseFormats(
    _ bytes: UnsafeRawBufferPointer, _ name: String
  ) throws(ControlError) {
    guard bytes.count >= 4 else { return }
    let magic = unsafe UInt32(bigEndian: bytes.loadUnaligned(as: UInt32.self))
    let formats: [UInt32: String] = [0x5146_49fb: "qcow2", 0x4b44_4d56: "vmdk"]
    if let format = formats[magic] {
      throw ControlError(
        "\(name): is a \(format) image, not a raw one; convert it: "
          + "qemu-img convert -O raw INPUT OUTPUT")
    }
  }

  private static func tooLarge(_ name: String, _ size: UInt64) -> ControlError {
    ControlError("\(name): has more than \(size) bytes, the disk's size; give a larger --size")
  }

  /// Writes the first `size` bytes of a space to an open file.
  public static func save(
    _ space: AddressSpace, size: UInt64, to file: OpenFile, name: String,
    caller: Caller = .none, progress: Progress
  ) throws(ControlError) {
    let target = try ImageTarget(file, name: name, size: size, caller: caller)
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: chunk, alignment: 4096)
    defer { unsafe buffer.deallocate() }
    do {
      var at: UInt64 = 0
      while at < size {
        let extent = try space.firstExtent(at: at, length: size - at)
        if extent.kind != .data { try target.zero(from: at, to: extent.end) }
        while extent.kind == .data, at < extent.end {
          let count = min(extent.end - at, UInt64(chunk))
          let part = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[..<Int(count)])
          unsafe try space.read(at: at, into: part)
          unsafe try target.write(UnsafeRawBufferPointer(part), at: at)
          at += count
          if at & (32 << 20 - 1) == 0 { progress(at, size) }
        }
        at = extent.end
      }
    } catch {
      throw error as? ControlError ?? ControlError("\(name): \(error)")
    }
    try target.finish(size: size)
    progress(size, size)
  }
}

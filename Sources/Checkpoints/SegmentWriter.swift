import CLinux
import Glibc

/// Writes pages, one behind the other, to a new file of a checkpoint: a buffer at a time, with a checksum
/// for each page. The checksums follow the pages.
@safe struct SegmentWriter: ~Copyable {
  static let pageSize = 4096
  private static let bufferPages = 256

  private let file: CheckpointDirectory.File
  /// The number of the first page.
  let first: UInt32
  private(set) var pages: UInt32 = 0
  private var checksums: [UInt32] = []
  private let buffer: UnsafeMutableRawBufferPointer
  private var filled = 0

  init(
    _ name: String, in directory: CheckpointDirectory, first: UInt32
  ) throws(CheckpointError) {
    file = try directory.make(name)
    self.first = first
    unsafe buffer = .allocate(byteCount: Self.bufferPages * Self.pageSize, alignment: Self.pageSize)
  }

  deinit { unsafe buffer.deallocate() }

  /// Adds a page, and returns its number.
  mutating func add(_ page: UnsafeRawPointer) throws(CheckpointError) -> UInt32 {
    guard UInt64(first) + UInt64(pages) < UInt64(UInt32.max) else {
      throw .file(file.name, call: "write", errno: EFBIG)
    }
    if filled == Self.bufferPages { try flush() }
    unsafe memcpy(
      buffer.baseAddress.unsafelyUnwrapped + filled * Self.pageSize, page, Self.pageSize)
    checksums.append(unsafe hm_crc32c(0, page, Self.pageSize))
    filled += 1
    pages += 1
    return first + pages - 1
  }

  private mutating func flush() throws(CheckpointError) {
    try unsafe file.write(
      UnsafeRawBufferPointer(rebasing: buffer[..<(filled * Self.pageSize)]),
      at: (Int(pages) - filled) * Self.pageSize)
    filled = 0
  }

  /// Writes what is left and the checksums, and waits until all of it is on the disk.
  mutating func finish() throws -> Manifest.Segment {
    try flush()
    let sum = try unsafe checksums.withUnsafeBytes { bytes in
      try unsafe file.write(bytes, at: Int(pages) * Self.pageSize)
      return unsafe hm_crc32c(0, bytes.baseAddress, bytes.count)
    }
    try file.sync()
    return Manifest.Segment(name: file.name, first: first, pages: pages, checksum: sum)
  }
}

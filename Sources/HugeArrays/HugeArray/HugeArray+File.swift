import Glibc
public import HugeMemory

/// A file that an array could not be saved to or loaded from.
public struct HugeArrayFileError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The file.
  public var path: String
  /// The system call that failed, or what is wrong with the file.
  public var reason: String

  /// What, where and why.
  public var description: String { "\(path): \(reason)" }
}

// Files are the elements one behind the other, `MemoryLayout<Element>.stride` bytes each, in this
// machine's byte order: what `numpy.memmap` and C read. Zeros without memory are holes of the file.
extension HugeArray {
  /// Writes the elements to a file. The file is written beside `path` and then renamed, so `path` has
  /// all of the elements or what it had before. A symbolic link stays, and the file that it leads to
  /// is replaced.
  ///
  /// Throws if the file cannot be written, or if there is something at `path` that is no regular
  /// file.
  /// - Complexity: O(pages in memory)
  public func save(to path: String) throws(HugeArrayFileError) {
    try OutputFile.replace(path) { (file) throws(HugeArrayFileError) in
      let stride = Self.layout.stride
      try file.setSize(count * stride)
      for range in nonZeroRanges {
        try withContiguousPieces(in: range) { (start, piece) throws(HugeArrayFileError) in
          try unsafe piece.bytes.withUnsafeBytes { (bytes) throws(HugeArrayFileError) in
            unsafe try file.write(bytes, at: start * stride)
          }
        }
      }
    }
  }

  /// Reads the elements of a file. Its holes, and its pages of zeros, take no memory.
  ///
  /// Throws if the file cannot be read, is no regular file, or has a size that is no multiple of an
  /// element's stride; and if there is no memory.
  /// - Complexity: O(bytes of the file that are no holes)
  public init(
    contentsOf path: String, machine: Machine = .shared
  ) throws(HugeArrayFileError) {
    let file = try InputFile(path)
    let layout = Self.layout
    let (count, rest) = file.size.quotientAndRemainder(dividingBy: layout.stride)
    guard rest == 0, count <= layout.maximalCount else {
      throw HugeArrayFileError(
        path: path,
        reason: "\(file.size) bytes are no whole number of elements of \(layout.stride) bytes")
    }
    self.init(count: count, machine: machine)
    // A number of whole pages, so that pages of zeros are found.
    let size = layout.perPage * layout.stride
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 * size, alignment: 4096)
    defer { unsafe buffer.deallocate() }
    storage.willWrite(before: count)
    var at = 0
    while let data = try file.data(from: at) {
      at = data / size * size
      let length = unsafe try file.read(into: buffer, at: at)
      for start in stride(from: 0, to: length, by: size) {
        let page = unsafe UnsafeRawBufferPointer(
          rebasing: buffer[start..<Swift.min(start + size, length)])
        if unsafe page.allSatisfy({ $0 == 0 }) { continue }
        do {
          unsafe try storage.writeShared(
            page, count: page.count / layout.stride, at: (at + start) / layout.stride)
        } catch { throw HugeArrayFileError(path: path, reason: "\(error)") }
      }
      at += length
    }
  }
}

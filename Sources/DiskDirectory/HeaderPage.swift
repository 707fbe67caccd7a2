import CLinux
import Glibc

/// The first page of a file, as it is read before anything is mapped or changed.
struct HeaderPage {
  private let file: Int32
  private var words = [UInt64](repeating: 0, count: Layout.page / 8)

  /// What a short file lacks counts as zeros.
  init(_ file: Int32) throws(DirectoryError) {
    self.file = file
    let read = unsafe words.withUnsafeMutableBytes {
      unsafe pread(file, $0.baseAddress, $0.count, 0)
    }
    guard read >= 0 else { throw .system(call: "pread", errno: errno) }
  }

  /// Throws unless this is a memory file that this version knows, or a new one. Returns whether it is new.
  func check() throws(DirectoryError) -> Bool {
    guard self[.magic] == Layout.magic else {
      guard self[.magic] == 0, isNew else { throw .noMemory }
      return true
    }
    let layout = Array(words[Layout.Word.version.rawValue..<Layout.Word.checksum.rawValue])
    guard self[.checksum] == Self.checksum(of: layout) else {
      throw .damaged("the checksum of its first page is wrong")
    }
    // Every version has the words up to the checksum where this one has them.
    guard self[.version] == Layout.version else { throw .otherVersion(self[.version]) }
    guard layout == Layout.words else {
      throw .damaged("its layout is none of format \(Layout.version)")
    }
    // With a damaged word nothing is known of it.
    let length = (Sealed.number(self[.length]) ?? 0) << 16
    guard size >= length else { throw .cutShort(size: size, length: length) }
    return false
  }

  static func checksum(of layout: [UInt64]) -> UInt64 {
    unsafe layout.withUnsafeBytes { UInt64(unsafe hm_crc32c(0, $0.baseAddress, $0.count)) }
  }

  /// The size of the file, in bytes.
  var size: UInt64 {
    var status = stat()
    return unsafe fstat(file, &status) == 0 ? UInt64(status.st_size) : 0
  }

  private subscript(word: Layout.Word) -> UInt64 { words[word.rawValue] }

  /// The magic is stored last, so a file whose first server ended before that is new too.
  private var isNew: Bool {
    let isEmpty = words.indices.dropFirst().allSatisfy { index in
      words[index] == 0 || index == Layout.Word.checksum.rawValue
        || index <= Layout.words.count && words[index] == Layout.words[index - 1]
    }
    guard isEmpty else { return false }
    var (start, end): (Int64, Int64) = (0, 0)
    switch unsafe hm_next_data(file, Int64(Layout.page), &start, &end) {
    case ENXIO: return true
    case EOPNOTSUPP:
      // Nothing but what the header lies in, and the roots.
      var status = stat()
      return unsafe fstat(file, &status) == 0 && status.st_blocks * 512 <= Layout.records
    default: return false
    }
  }
}

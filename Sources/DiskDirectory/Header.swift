import CLinux
import Glibc

/// The first page of a memory file, in words.
enum Header {
  static let count = Layout.page / 8

  enum Finding { case new, known }

  /// Looks at a file that may be anything, and changes nothing. Throws unless it is a memory file, or empty.
  static func check(file: Int32) throws(DirectoryError) {
    var words = [UInt64](repeating: 0, count: count)
    guard unsafe pread(file, &words, Layout.page, 0) >= 0 else {
      throw .system(call: "read", errno: errno)
    }
    // An image of a disk can begin with zeros.
    if try check(words) == .new, hasData(file, from: off_t(Layout.page)) { throw .noMemory }
  }

  /// Whether a first page is that of a memory file, or of an empty one.
  static func check(_ words: [UInt64]) throws(DirectoryError) -> Finding {
    let known = Layout.words
    guard words[Layout.Word.magic.rawValue] != 0 else {
      let isEmpty = (1..<count).allSatisfy {
        words[$0] == 0 || $0 <= known.count && words[$0] == known[$0 - 1]
          || $0 == Layout.Word.checksum.rawValue
      }
      guard isEmpty else { throw .noMemory }
      return .new
    }
    guard words[Layout.Word.magic.rawValue] == Layout.magic else { throw .noMemory }
    guard words[Layout.Word.checksum.rawValue] == checksum(of: words) else {
      throw .damaged("the checksum of its first page is wrong")
    }
    let version = words[Layout.Word.version.rawValue]
    guard version == Layout.version else { throw .otherVersion(version) }
    guard words[1...known.count].elementsEqual(known) else {
      throw .damaged("its layout is none of format \(Layout.version)")
    }
    return .known
  }

  /// Of the words from the version to the checksum.
  static func checksum(of words: [UInt64]) -> UInt64 {
    let described = Array(words[Layout.Word.version.rawValue..<Layout.Word.checksum.rawValue])
    return unsafe described.withUnsafeBytes {
      UInt64(unsafe hm_crc32c(0, $0.baseAddress, $0.count))
    }
  }

  /// Whether any byte from an offset on is not zero. Looks only at what is no hole.
  private static func hasData(_ file: Int32, from start: off_t) -> Bool {
    var piece = [UInt8](repeating: 0, count: 1 << 20)
    var at = start
    while true {
      // Linux's SEEK_DATA, which Glibc's module lacks. Without it, every byte is looked at.
      let data = lseek(file, at, 3)
      if data < 0, errno == ENXIO { return false }
      at = max(at, data)
      let got = unsafe pread(file, &piece, piece.count, at)
      guard got > 0 else { return false }
      if piece[..<got].contains(where: { $0 != 0 }) { return true }
      at += off_t(got)
    }
  }
}

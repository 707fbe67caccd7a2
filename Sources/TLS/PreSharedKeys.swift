import FoundationEssentials
import Glibc

/// The keys of a PSK file, by user name: a line `user:hexkey` each, as `psktool` writes them.
struct PreSharedKeys: Sendable {
  private(set) var keys: [String: [UInt8]] = [:]

  /// The shortest and the longest key, in bytes.
  private static let lengths = 16...64

  init(path: String) throws(TLSError) {
    let text = try SecretFile.read(path)
    for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated()
    where !line.isEmpty && !line.hasPrefix("#") {
      func refuse(_ reason: String) -> TLSError { TLSError("\(path):\(index + 1): \(reason)") }
      guard let colon = line.lastIndex(of: ":"), colon > line.startIndex else {
        throw refuse("write each line as user:hexkey, as psktool does")
      }
      let user = String(line[..<colon])
      guard let key = Self.bytes(line[line.index(after: colon)...]),
        Self.lengths.contains(key.count)
      else {
        throw refuse(
          "the key must be \(Self.lengths.lowerBound) to \(Self.lengths.upperBound) bytes in hexadecimal"
        )
      }
      guard user.utf8.count <= 255, keys.updateValue(key, forKey: user) == nil else {
        throw refuse("user \(user) is there twice, or its name is longer than 255 bytes")
      }
    }
    guard !keys.isEmpty else { throw TLSError("\(path): has no key; make one with psktool") }
  }

  private static func bytes(_ digits: Substring) -> [UInt8]? {
    let values = digits.utf8.map { Character(Unicode.Scalar($0)).hexDigitValue }
    guard values.count % 2 == 0, !values.contains(nil) else { return nil }
    return stride(from: 0, to: values.count, by: 2).map {
      UInt8(values[$0]! << 4 | values[$0 + 1]!)
    }
  }
}

/// A file that only its owner may read.
enum SecretFile {
  private static let longest = 1 << 20

  /// Throws if others can read the file.
  static func check(_ path: String) throws(TLSError) {
    var status = stat()
    guard unsafe stat(path, &status) == 0 else {
      throw TLSError("\(path): \(unsafe String(cString: strerror(errno)))")
    }
    guard status.st_mode & S_IFMT == S_IFREG else { throw TLSError("\(path): is no regular file") }
    guard status.st_size <= longest else { throw TLSError("\(path): is larger than 1 MiB") }
    guard status.st_mode & (S_IRWXO | S_IWGRP) == 0 else {
      throw TLSError("\(path): others can read or change this secret; run chmod 600 on it")
    }
  }

  static func read(_ path: String) throws(TLSError) -> String {
    try check(path)
    guard let data = FileManager.default.contents(atPath: path),
      let text = String(validating: data, as: UTF8.self)
    else { throw TLSError("\(path): cannot be read as text") }
    return text
  }
}

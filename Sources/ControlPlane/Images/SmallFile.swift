public import FoundationEssentials
import Glibc

/// A regular file that is read whole, since all of it is checked before any of it counts.
public enum SmallFile {
  /// Looks at the kind and size first, so that nothing blocks and no memory is taken for what is too
  /// large. `most` is in bytes.
  public static func read(_ path: String, atMost most: Int) throws(ControlError) -> Data {
    var status = stat()
    guard unsafe stat(path, &status) == 0 else { throw ControlError("open \(path)", errno: errno) }
    guard status.st_mode & S_IFMT == S_IFREG, status.st_size <= most else {
      throw ControlError("\(path): is no regular file of at most \(ByteSize(UInt64(most)))")
    }
    guard let data = FileManager.default.contents(atPath: path) else {
      throw ControlError("\(path): cannot be read")
    }
    return data
  }
}

/// Why a memory file cannot be used.
public enum DirectoryError: Error, CustomStringConvertible, Equatable {
  /// It has something else in it.
  case noMemory
  /// It was written in a format that this version does not know.
  case otherVersion(UInt64)
  /// Its description of itself is wrong.
  case damaged(String)
  /// Its end is missing. In bytes.
  case cutShort(size: UInt64, length: UInt64)
  /// Its file system has no room for the directory.
  case noRoom
  /// A call of the system failed.
  case system(call: String, errno: Int32)

  public var description: String {
    switch self {
    case .noMemory:
      "the memory file is no memory of hugemem, and was left as it is; name another file"
    case .otherVersion(let version):
      "the memory has format \(version), and this hugemem knows format \(Layout.version); it was left as it is: use the hugemem that wrote it, or save its disks with `hugemem checkpoint` there and restore them here"
    case .damaged(let reason):
      "the memory is damaged and was left as it is: \(reason)"
    case .cutShort(let size, let length):
      "the memory file was cut short, and was left as it is: it has \(size) bytes of \(length); what disks had in the rest is lost. `truncate -s \(length)` on the file makes that zeros, so that you can save the rest"
    case .noRoom:
      "its file system has no room for the directory of disks, 4 MiB; give it more, or remove what else is there"
    case .system(let call, let errno):
      "\(call): errno \(errno)"
    }
  }
}

import Glibc

/// What can go wrong with a checkpoint. The description says what, where, and what to do about it.
public enum CheckpointError: Error, Equatable, Sendable, CustomStringConvertible {
  /// A system call on a file of the directory failed.
  case file(String, call: String, errno: Int32)
  /// The directory has a file of this name, and no checkpoint.
  case notEmpty(String)
  /// The directory has no checkpoint.
  case none
  /// A file is not what a checkpoint has, or was damaged.
  case damaged(String, reason: String)
  /// The checkpoint was written by another version of the format.
  case otherVersion(Int)
  /// There is no memory for what is restored. The limit is in bytes.
  case outOfMemory(limit: UInt64)

  public var description: String {
    switch self {
    case .file(let name, let call, ENOSPC), .file(let name, let call, EDQUOT):
      "\(call) \(name): no space is left for the checkpoint; the last one is as it was"
    case .file(let name, let call, ELOOP): "\(call) \(name): is a link"
    case .file(let name, let call, let code):
      "\(call) \(name): \(unsafe String(cString: strerror(code)))"
    case .notEmpty(let name):
      "the directory has other files, such as \(name), and no checkpoint; name an empty or a new one"
    case .none: "there is no checkpoint in the directory"
    case .damaged(let name, let reason):
      "\(name): \(reason); the checkpoint is damaged, use another one"
    case .otherVersion(let version):
      "the checkpoint has version \(version) of the format, and this program knows version 1"
    case .outOfMemory(let limit):
      "the checkpoint does not fit into the memory limit of \(limit) bytes; raise --memory"
    }
  }
}

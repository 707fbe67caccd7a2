/// What can go wrong. A failed call has changed nothing, except that a write or a discard of
/// several pages may have completed some of them.
public enum MemoryError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The arena is full. `limit` is its size in bytes.
  case outOfMemory(limit: UInt64)
  /// The range, in bytes, does not lie within the space.
  case outOfRange(offset: UInt64, length: UInt64, size: UInt64)
  /// A size, in bytes, that cannot be had, and why.
  case invalidSize(UInt64, reason: String)
  /// The system refused a call.
  case system(call: String, errno: Int32)

  public var description: String {
    switch self {
    case .outOfMemory(let limit):
      "the memory limit of \(limit) bytes is reached; discard data or start with a larger limit"
    case .outOfRange(let offset, let length, let size):
      "offset \(offset) with length \(length) reaches beyond the size of \(size) bytes"
    case .invalidSize(let size, let reason): "a size of \(size) bytes cannot be had: \(reason)"
    case .system(let call, let errno): "\(call) failed with errno \(errno)"
    }
  }
}

/// What can go wrong. The description says what, where, and what to do about it. A failed call has
/// changed nothing, except that a write or a discard of several pages may have completed some of
/// them.
public enum MemoryError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The arena is full, or its free memory is promised to others. `limit` is the arena's size in
  /// bytes.
  case outOfMemory(limit: UInt64)
  /// The space may not take more memory of its own. `quota` is the most that it may take, in bytes.
  case overQuota(quota: UInt64)
  /// The range, in bytes, does not lie within the space.
  case outOfRange(offset: UInt64, length: UInt64, size: UInt64)
  /// A size, in bytes, that is not possible, and why.
  case invalidSize(UInt64, reason: String)
  /// The range, in bytes, does not consist of whole pages of 4 KiB, as mappings do.
  case misaligned(offset: UInt64, length: UInt64)
  /// Nothing is mapped at the offset, in bytes.
  case notMapped(offset: UInt64)
  /// The mapping at the offset, in bytes, allows only `protection`.
  case accessDenied(offset: UInt64, protection: Protection)
  /// The 2 MiB at the offset cannot become a huge frame.
  case notCollapsible(offset: UInt64, reason: String)
  /// The source and the target of a move overlap.
  case overlappingMove(from: UInt64, to: UInt64, length: UInt64)
  /// The system refused a call.
  case system(call: String, errno: Int32)

  public var description: String {
    switch self {
    case .outOfMemory(let limit):
      "the memory limit of \(limit) bytes is reached; discard data or raise the limit"
    case .overQuota(let quota):
      "the quota of \(quota) bytes is reached; discard data of it or raise its quota"
    case .outOfRange(let offset, let length, let size):
      "offset \(offset) with length \(length) reaches beyond the size of \(size) bytes"
    case .invalidSize(let size, let reason): "a size of \(size) bytes cannot be had: \(reason)"
    case .misaligned(let offset, let length):
      "offset \(offset) with length \(length) is not a range of whole pages; use multiples of 4096"
    case .notMapped(let offset): "nothing is mapped at offset \(offset); map it first"
    case .accessDenied(let offset, let protection):
      "the mapping at offset \(offset) allows \(protection); change its protection first"
    case .notCollapsible(let offset, let reason):
      "the 2 MiB at offset \(offset) cannot become a huge frame: \(reason)"
    case .overlappingMove(let from, let to, let length):
      "a move of \(length) bytes from \(from) to \(to) would overwrite what it moves"
    case .system("mmap", let errno):
      "the system has no address space for this limit (mmap: errno \(errno)); lower the limit and the capacity, or raise `ulimit -v`"
    case .system("pthread_create", let errno):
      "the system has no thread for the background (pthread_create: errno \(errno)); raise `ulimit -u` or the control group's pids.max, or make the machine without a background"
    case .system(let call, let errno): "the system refused \(call) with errno \(errno)"
    }
  }
}

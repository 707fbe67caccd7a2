import Primitives

/// The bytes that clients have read from a disk and written to it since it was made. A request
/// counts when it is done. Zeroes and trims carry no data and do not count.
///
/// - Thread safety: you may call every method on any thread. The connections of one disk share a
///   cache line. That costs nothing beside the system calls of a request.
public final class Traffic: Sendable {
  /// (A) each.
  private let read = AtomicWord(0)
  private let written = AtomicWord(0)

  public var bytesRead: UInt64 { read.load(.relaxed) }
  public var bytesWritten: UInt64 { written.load(.relaxed) }

  func countRead(_ bytes: UInt64) { read.add(bytes, .relaxed) }
  func countWritten(_ bytes: UInt64) { written.add(bytes, .relaxed) }
}

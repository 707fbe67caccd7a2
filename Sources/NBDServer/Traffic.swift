import Primitives

/// What clients have read from a disk and written to it, in bytes, since it is there. A request
/// counts once it is done: zeroes and trims carry no data and do not.
///
/// - Thread safety: every method may be called on any thread. The connections of one disk share a
///   cache line; a request makes system calls, beside which that is nothing.
public final class Traffic: Sendable {
  /// (A) each.
  private let read = AtomicWord(0)
  private let written = AtomicWord(0)

  public var bytesRead: UInt64 { read.load(.relaxed) }
  public var bytesWritten: UInt64 { written.load(.relaxed) }

  func countRead(_ bytes: UInt32) { read.add(UInt64(bytes), .relaxed) }
  func countWritten(_ bytes: UInt32) { written.add(UInt64(bytes), .relaxed) }
}

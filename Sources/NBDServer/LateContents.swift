package import HugeMemory
import NBD

/// Contents of disks that come while the disks are in use. Whoever is about to use a range of a space asks
/// for it first.
///
/// - Thread safety: every method may be called on any thread, without any lock of a space or of the
///   registry.
package protocol LateContents: AnyObject, Sendable {
  /// Whether all is there. It stays so.
  var isWhole: Bool { get }
  /// How much of it, in pieces of 2 MiB, there is, is still to come, and could not be had.
  var progress: (pieces: Int, left: Int, failed: Int) { get }
  /// Returns when all of a range is there.
  func bring(_ range: Range<UInt64>, of space: AddressSpace) throws(LateError)
  /// Returns when the first 2 MiB of a range are there: the end of the part of the range that is.
  func bringFirst(_ range: Range<UInt64>, of space: AddressSpace) throws(LateError) -> UInt64
  /// Returns when all of a space is there. `check` is called now and then, and throws to stop.
  func bringAll(of space: AddressSpace, check: () throws -> Void) throws
}

/// Why contents are not there.
package enum LateError: Error {
  /// There is no memory now. The limit is in bytes.
  case noMemory(limit: UInt64)
  /// They cannot be read, and why.
  case unreadable(String)
}

extension LateContents {
  /// Before a range becomes a hole: brings the 2 MiB at its edges that keep something. What lies between
  /// them goes, whether it is there or not.
  func bringEdges(of range: Range<UInt64>, of space: AddressSpace) throws(LateError) {
    let mask: UInt64 = (2 << 20) - 1
    for edge in [range.lowerBound, range.upperBound] where edge & mask != 0 {
      try bring(edge & ~mask..<(edge | mask) + 1, of: space)
    }
  }
}

extension Transmission {
  /// Waits for the contents that a request uses. Returns an error to answer with, or nil.
  @inline(never)
  mutating func bring(_ request: Request, _ command: Command) -> RequestError? {
    guard let late else { return nil }
    guard !late.isWhole else {
      self.late = nil
      return nil
    }
    let range = request.offset..<request.offset &+ request.length
    do throws(LateError) {
      switch command {
      case .read, .write, .cache: try late.bring(range, of: space)
      case .writeZeroes where request.flags.contains(.noHole): try late.bring(range, of: space)
      case .trim, .writeZeroes: try late.bringEdges(of: range, of: space)
      // Block status asks for less than its range, and a resize knows its range only under its lock.
      case .blockStatus, .resize, .flush, .disconnect: break
      }
      return nil
    } catch { return Self.error(for: error, changes: command != .read && command != .cache) }
  }

  /// Waits for the first contents of a range that block status tells of. Returns the end of the part that
  /// is there: a client asks again for the rest.
  @inline(never)
  func bringFirst(_ range: Range<UInt64>) throws(LateError) -> UInt64 {
    guard let late, !late.isWhole, !range.isEmpty else { return range.upperBound }
    let end = try late.bringFirst(range, of: space)
    guard let snapshot, session.contexts.contains(.origin), range.lowerBound < snapshot.size else {
      return end
    }
    return try late.bringFirst(range.lowerBound..<end, of: snapshot)
  }

  /// `changes`: whether the request changes the disk. ENOSPC makes no sense for one that reads.
  static func error(for error: LateError, changes: Bool) -> RequestError {
    switch error {
    case .noMemory:
      RequestError(
        error: changes ? .noSpace : .outOfMemory,
        message: "the checkpoint is not loaded there yet, and the server's memory limit is reached")
    case .unreadable:
      RequestError(
        error: .inputOutput,
        message: "the checkpoint cannot be read there; the server's log says why")
    }
  }
}

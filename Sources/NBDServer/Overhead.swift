import Primitives

/// The memory that the server takes beside that of the machine, for what clients make it remember:
/// connections, disks' records, buffers. All of it is within `bytes`.
///
/// Half is for connections, of which each can have what it needs always; a quarter for the records of
/// disks; a quarter for larger buffers, which busy connections share: who finds none left goes on with
/// small ones.
///
/// - Thread safety: every method may be called on any thread.
public final class Overhead: Sendable {
  /// What a connection takes at most without a larger buffer, in bytes: its stack's touched pages, its
  /// negotiation or its small buffers, and what it holds frames by.
  public static let connection: UInt64 = 64 << 10
  /// What a disk takes at most beside its memory, in bytes: a name of 255 bytes, twice, its space, its
  /// snapshot and what counts for it.
  public static let disk: UInt64 = 3 << 10
  /// A larger buffer, in bytes.
  static let buffer: UInt64 = 256 << 10

  /// In bytes.
  public let bytes: UInt64
  /// How many connections and disks that is enough for.
  public var connections: Int { Int(clamping: bytes / 2 / Self.connection) }
  public var disks: Int { Int(clamping: bytes / 4 / Self.disk) }
  /// (A) In bytes: of larger buffers that are in use.
  private let used = AtomicWord(0)

  /// The least: 4 MiB.
  public static let least: UInt64 = 4 << 20

  public init(bytes: UInt64) { self.bytes = max(bytes, Self.least) }

  /// An eighth of the machine's memory, but no less than 64 MiB.
  public static func standard(memory: UInt64) -> Overhead {
    Overhead(bytes: max(64 << 20, memory / 8))
  }

  /// In bytes.
  public var buffersUsed: UInt64 { used.load(.relaxed) }

  /// Takes so much for a buffer; false if there is not so much left.
  public func take(_ bytes: UInt64) -> Bool {
    if used.add(bytes, .relaxed) + bytes <= self.bytes / 4 { return true }
    used.subtract(bytes, .relaxed)
    return false
  }

  public func give(_ bytes: UInt64) { used.subtract(bytes, .relaxed) }
}

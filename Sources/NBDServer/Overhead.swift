import Primitives

/// The memory that the server takes in addition to the machine's, for what clients make it
/// remember: connections, records of disks, and buffers. All of it is within `bytes`.
///
/// Half of it is for connections: each can always have what it needs. A quarter is for the records
/// of disks. A quarter is for larger buffers, which busy connections share. A connection that finds
/// none left goes on with small ones.
///
/// - Thread safety: you may call every method on any thread.
public final class Overhead: Sendable {
  /// The most that a connection takes without a larger buffer, in bytes: the touched pages of its
  /// stack, its negotiation or its small buffers, and the records of the frames that it holds.
  public static let connection: UInt64 = 64 << 10
  /// The same for a connection with TLS, with what GnuTLS keeps for it.
  public static let secureConnection: UInt64 = 128 << 10
  /// The most that a disk takes in addition to its memory, in bytes: its name of up to 255
  /// bytes, twice, its space, its snapshot and its counters.
  public static let disk: UInt64 = 3 << 10
  /// The size of a larger buffer, in bytes.
  static let buffer: UInt64 = 256 << 10

  /// In bytes.
  public let bytes: UInt64
  /// How many connections and disks `bytes` suffices for. `secure` means that connections may use TLS.
  public func connections(secure: Bool) -> Int {
    Int(clamping: bytes / 2 / (secure ? Self.secureConnection : Self.connection))
  }
  public var disks: Int { Int(clamping: bytes / 4 / Self.disk) }
  /// (A) The larger buffers in use, in bytes.
  private let used = AtomicWord(0)

  /// The smallest value of `bytes`: 4 MiB.
  public static let least: UInt64 = 4 << 20

  public init(bytes: UInt64) { self.bytes = max(bytes, Self.least) }

  /// The default: an eighth of the machine's memory, but at least 64 MiB.
  public static func standard(memory: UInt64) -> Overhead {
    Overhead(bytes: max(64 << 20, memory / 8))
  }

  /// In bytes.
  public var buffersUsed: UInt64 { used.load(.relaxed) }

  /// Takes so many bytes for a buffer. Returns false, and takes nothing, if less is left.
  public func take(_ bytes: UInt64) -> Bool {
    if used.add(bytes, .relaxed) + bytes <= self.bytes / 4 { return true }
    used.subtract(bytes, .relaxed)
    return false
  }

  public func give(_ bytes: UInt64) { used.subtract(bytes, .relaxed) }
}

// The protocol's numbers: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md

enum Magic {
  static let greeting: UInt64 = 0x4e42_444d_4147_4943  // "NBDMAGIC"
  static let option: UInt64 = 0x4948_4156_454f_5054  // "IHAVEOPT"
  static let optionReply: UInt64 = 0x3_e889_0455_65a9
  static let request: UInt32 = 0x2560_9513
  static let extendedRequest: UInt32 = 0x21e4_1c71
  static let simpleReply: UInt32 = 0x6744_6698
  static let structuredReply: UInt32 = 0x668e_33ef
  static let extendedReply: UInt32 = 0x6e8a_278c
}

/// The options that a client may send before transmission.
enum OptionCode: UInt32, Sendable {
  case exportName = 1
  case abort = 2
  case list = 3
  case startTLS = 5
  case info = 6
  case go = 7
  case structuredReply = 8
  case listMetaContext = 9
  case setMetaContext = 10
  case extendedHeaders = 11
}

/// The types of a reply to an option. Those with the highest bit set are errors.
public enum OptionReply: UInt32, Sendable {
  case acknowledge = 1
  case server = 2
  case info = 3
  case metaContext = 4
  case unsupported = 0x8000_0001
  case policy = 0x8000_0002
  case invalid = 0x8000_0003
  case needsTLS = 0x8000_0005
  case unknown = 0x8000_0006
  case tooBig = 0x8000_0009
  case needsExtendedHeaders = 0x8000_000a
}

enum InfoType: UInt16 {
  case export = 0
  case name = 1
  case description = 2
  case blockSize = 3
}

/// The properties of an export that the server announces to a client.
public struct TransmissionFlags: OptionSet, Sendable {
  public let rawValue: UInt16
  public init(rawValue: UInt16) { self.rawValue = rawValue }
  public static let hasFlags = Self(rawValue: 1 << 0)
  public static let readOnly = Self(rawValue: 1 << 1)
  public static let flush = Self(rawValue: 1 << 2)
  public static let forceUnitAccess = Self(rawValue: 1 << 3)
  public static let trim = Self(rawValue: 1 << 5)
  public static let writeZeroes = Self(rawValue: 1 << 6)
  public static let dontFragment = Self(rawValue: 1 << 7)
  public static let multiConnection = Self(rawValue: 1 << 8)
  public static let resize = Self(rawValue: 1 << 9)
  public static let cache = Self(rawValue: 1 << 10)
  public static let fastZero = Self(rawValue: 1 << 11)
  /// BLOCK_STATUS takes a list of the contexts that the client wants.
  public static let blockStatusPayload = Self(rawValue: 1 << 12)
}

public enum Command: UInt16, Sendable {
  case read = 0
  case write = 1
  case disconnect = 2
  case flush = 3
  case trim = 4
  case cache = 5
  case writeZeroes = 6
  case blockStatus = 7
  case resize = 8
}

public struct CommandFlags: OptionSet, Sendable {
  public let rawValue: UInt16
  @inlinable public init(rawValue: UInt16) { self.rawValue = rawValue }
  public static let forceUnitAccess = Self(rawValue: 1 << 0)
  public static let noHole = Self(rawValue: 1 << 1)
  public static let dontFragment = Self(rawValue: 1 << 2)
  public static let requireOne = Self(rawValue: 1 << 3)
  public static let fastZero = Self(rawValue: 1 << 4)
  /// The length of the request is that of its payload.
  public static let payloadLength = Self(rawValue: 1 << 5)
}

/// The errors that a reply can carry, with Linux's numbers.
public enum ReplyError: UInt32, Error, Sendable {
  case notPermitted = 1
  case inputOutput = 5
  case outOfMemory = 12
  case invalid = 22
  case noSpace = 28
  case notSupported = 95
}

/// Limits that the server announces or enforces.
public enum Limits {
  public static let minimalBlock: UInt32 = 1
  public static let preferredBlock: UInt32 = 4096
  /// The largest read or write that the server announces, in bytes.
  public static let payload: UInt32 = 32 << 20
  /// The largest read or write that the server accepts, in bytes. Some clients ignore the announced
  /// size and send up to 50 MiB (the integrity test of the reference implementation). Other servers
  /// allow 64 MiB.
  public static let largestPayload: UInt32 = 64 << 20
  /// The longest option, in bytes. The longest name and the longest query fit together. A longer
  /// option is refused and skipped.
  public static let option: UInt32 = 12 << 10
  /// The longest name, query or error text, in bytes. The protocol sets this limit.
  public static let string = 4096
  /// The most extents in one reply to BLOCK_STATUS. A client asks again for the rest.
  public static let extents = 4096
}

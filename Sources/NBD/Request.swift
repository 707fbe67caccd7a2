/// One request of the transmission phase, as received.
public struct Request: Sendable, Equatable {
  /// The bytes of a request on the wire, without its payload.
  public static let length = 28

  /// Opaque. The reply returns it.
  public var cookie: UInt64
  public var flags: CommandFlags
  public var type: UInt16
  /// In bytes.
  public var offset: UInt64
  public var length: UInt32

  public init(
    _ command: Command, flags: CommandFlags = [], cookie: UInt64 = 0, offset: UInt64 = 0,
    length: UInt32 = 0
  ) {
    type = command.rawValue
    (self.flags, self.cookie, self.offset, self.length) = (flags, cookie, offset, length)
  }

  /// Decodes the first 28 bytes. Returns nil if they do not begin with a request's magic number;
  /// the stream is then out of step and cannot recover.
  @inline(__always)
  public init?(_ bytes: UnsafeRawPointer) {
    guard unsafe UInt32(bigEndian: bytes.loadUnaligned(as: UInt32.self)) == Magic.request else {
      return nil
    }
    // SAFETY: the caller has 28 bytes there.
    unsafe flags = CommandFlags(
      rawValue: UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: 4, as: UInt16.self)))
    unsafe type = UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: 6, as: UInt16.self))
    unsafe cookie = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
    unsafe offset = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 16, as: UInt64.self))
    unsafe length = UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: 24, as: UInt32.self))
  }

  /// The bytes of payload that follow the request.
  public var payload: UInt32 { type == Command.write.rawValue ? length : 0 }
}

/// Why a request is refused. The message is for a person who reads a client's log.
public struct RequestError: Error, Sendable, Equatable {
  public var error: ReplyError
  public var message: StaticString

  public init(error: ReplyError, message: StaticString) {
    self.error = error
    self.message = message
  }

  public static func == (a: Self, b: Self) -> Bool { a.error == b.error }
}

extension Request {
  /// Checks the whole request in one step, before anything changes (after seL4).
  @inline(__always)
  public func command(
    size: UInt64, readOnly: Bool, session: Session
  ) throws(RequestError) -> Command {
    guard let command = Command(rawValue: type) else {
      throw RequestError(error: .invalid, message: "type: no such command")
    }
    var known: CommandFlags = .forceUnitAccess
    switch command {
    case .read: if session.structured { known.insert(.dontFragment) }
    case .writeZeroes: known.formUnion([.noHole, .fastZero])
    case .blockStatus:
      known.insert(.requireOne)
      guard session.allocation else {
        throw RequestError(error: .invalid, message: "type: no metadata context was negotiated")
      }
    default: break
    }
    guard flags.isSubset(of: known) else {
      throw RequestError(error: .invalid, message: "flags: not defined for this command")
    }
    switch command {
    case .disconnect, .flush: return command
    case .read, .write:
      guard length <= Limits.largestPayload else {
        throw RequestError(error: .invalid, message: "length: more than 64 MiB")
      }
    default: break
    }
    let modifies = command == .write || command == .writeZeroes || command == .trim
    if modifies && readOnly {
      throw RequestError(error: .notPermitted, message: "the export is read-only")
    }
    guard offset <= size, UInt64(length) <= size - offset else {
      throw RequestError(
        error: command == .write || command == .writeZeroes ? .noSpace : .invalid,
        message: "offset and length: beyond the end of the export")
    }
    if command == .blockStatus && length == 0 {
      throw RequestError(error: .invalid, message: "length: 0")
    }
    return command
  }
}

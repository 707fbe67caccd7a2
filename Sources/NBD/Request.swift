/// One request of the transmission phase, as received.
public struct Request: Sendable, Equatable {
  /// The bytes of a request on the wire, without its payload.
  public static let length = 28
  /// The same with extended headers.
  public static let extendedLength = 32

  /// Opaque. The reply returns it.
  public var cookie: UInt64
  public var flags: CommandFlags
  public var type: UInt16
  /// In bytes.
  public var offset: UInt64
  /// In bytes: of the range, or, with extended headers and `payloadLength`, of the payload.
  public var length: UInt64
  /// The bytes of payload that follow the request.
  public var payload: UInt64

  public init(
    _ command: Command, flags: CommandFlags = [], cookie: UInt64 = 0, offset: UInt64 = 0,
    length: UInt64 = 0
  ) {
    type = command.rawValue
    (self.flags, self.cookie, self.offset, self.length) = (flags, cookie, offset, length)
    payload = command == .write ? length : 0
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
    unsafe length = UInt64(
      UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: 24, as: UInt32.self)))
    payload = type == Command.write.rawValue ? length : 0
  }

  /// Decodes the first 32 bytes of a request with an extended header.
  ///
  /// The length is that of a payload if `payloadLength` is set. A WRITE without that flag breaks the
  /// rules. It is taken as one with a payload, as qemu does, since clients have nothing else to send.
  @inline(__always)
  public init?(extended bytes: UnsafeRawPointer) {
    guard
      unsafe UInt32(bigEndian: bytes.loadUnaligned(as: UInt32.self)) == Magic.extendedRequest
    else { return nil }
    // SAFETY: the caller has 32 bytes there.
    unsafe flags = CommandFlags(
      rawValue: UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: 4, as: UInt16.self)))
    unsafe type = UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: 6, as: UInt16.self))
    unsafe cookie = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
    unsafe offset = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 16, as: UInt64.self))
    unsafe length = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 24, as: UInt64.self))
    payload =
      type == Command.write.rawValue || flags.contains(.payloadLength) ? length : 0
  }
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
  /// Checks the whole request in one step, before anything changes (after seL4). `formerSize` is the size
  /// that the export had before it became smaller, if it did.
  @inline(__always)
  public func command(
    size: UInt64, formerSize: @autoclosure () -> UInt64 = 0, readOnly: Bool, session: Session
  ) throws(RequestError) -> Command {
    guard let command = Command(rawValue: type) else {
      throw RequestError(error: .invalid, message: "type: no such command")
    }
    var known: CommandFlags = .forceUnitAccess
    switch command {
    case .read: if session.structured { known.insert(.dontFragment) }
    case .write: if session.extended { known.insert(.payloadLength) }
    case .writeZeroes: known.formUnion([.noHole, .fastZero])
    case .blockStatus:
      known.insert(.requireOne)
      if session.extended { known.insert(.payloadLength) }
      guard !session.contexts.isEmpty else {
        throw RequestError(error: .invalid, message: "type: no metadata context was negotiated")
      }
    default: break
    }
    guard flags.isSubset(of: known) else {
      throw RequestError(error: .invalid, message: "flags: not defined for this command")
    }
    switch command {
    case .disconnect, .flush: return command
    case .resize:
      guard !readOnly else {
        throw RequestError(error: .notPermitted, message: "the export is read-only")
      }
      guard length == 0, offset > 0 else {
        throw RequestError(
          error: .invalid, message: "the offset is the new size, more than 0; the length is 0")
      }
      return command
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
    // The range of a BLOCK_STATUS with a payload is in the payload.
    if command == .blockStatus && flags.contains(.payloadLength) { return command }
    guard offset <= size, length <= size - offset else {
      let former = formerSize()
      let wasThere = offset <= former && length <= former - offset
      throw RequestError(
        error: command == .write || command == .writeZeroes || wasThere ? .noSpace : .invalid,
        message: "offset and length: beyond the end of the export")
    }
    if command == .blockStatus && length == 0 {
      throw RequestError(error: .invalid, message: "length: 0")
    }
    return command
  }
}

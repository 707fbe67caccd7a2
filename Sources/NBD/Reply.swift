/// What the head of a reply's chunk repeats of its request.
public struct ReplyTo: Sendable {
  let cookie: UInt64
  let offset: UInt64
  /// Whether the chunk has an extended head.
  let extended: Bool

  @inline(__always)
  public init(_ request: Request, extended: Bool = false) {
    cookie = request.cookie
    offset = request.offset
    self.extended = extended
  }
}

/// The fixed layouts of replies. Each function stores a head at `target` and returns its length;
/// no head is longer than `Reply.longestHead`.
public enum Reply {
  public static let longestHead = 160
  static let done: UInt16 = 1

  private enum Chunk {
    static let none: UInt16 = 0
    static let offsetData: UInt16 = 1
    static let offsetHole: UInt16 = 2
    static let blockStatus: UInt16 = 5
    static let extendedBlockStatus: UInt16 = 6
    static let error: UInt16 = 0x8001
  }

  /// A simple reply; the data of a successful READ follows.
  @inline(__always)
  public static func simple(
    _ target: UnsafeMutableRawPointer, cookie: UInt64, error: ReplyError? = nil
  ) -> Int {
    unsafe store(Magic.simpleReply, target, 0)
    unsafe store(error?.rawValue ?? 0, target, 4)
    unsafe store(cookie, target, 8)
    return 16
  }

  /// The head of a chunk with `length` bytes of data, which follow.
  @inline(__always)
  public static func data(
    _ target: UnsafeMutableRawPointer, _ to: ReplyTo, offset: UInt64, length: UInt32, last: Bool
  ) -> Int {
    let head = unsafe chunk(target, Chunk.offsetData, to, length + 8, last)
    unsafe store(offset, target, head)
    return head + 8
  }

  /// A range that reads as zeros.
  @inline(__always)
  public static func hole(
    _ target: UnsafeMutableRawPointer, _ to: ReplyTo, offset: UInt64, length: UInt32, last: Bool
  ) -> Int {
    let head = unsafe chunk(target, Chunk.offsetHole, to, 12, last)
    unsafe store(offset, target, head)
    unsafe store(length, target, head + 8)
    return head + 12
  }

  /// An empty chunk that ends a reply.
  @inline(__always)
  public static func none(_ target: UnsafeMutableRawPointer, _ to: ReplyTo) -> Int {
    unsafe chunk(target, Chunk.none, to, 0, true)
  }

  /// The head of one context's reply to BLOCK_STATUS; `extents` descriptors follow.
  public static func blockStatus(
    _ target: UnsafeMutableRawPointer, _ to: ReplyTo, context: MetaContexts, extents: Int,
    last: Bool
  ) -> Int {
    guard to.extended else {
      let head = unsafe chunk(target, Chunk.blockStatus, to, UInt32(4 + 8 * extents), last)
      unsafe store(context.identifier, target, head)
      return head + 4
    }
    let head = unsafe chunk(target, Chunk.extendedBlockStatus, to, UInt32(8 + 16 * extents), last)
    unsafe store(context.identifier, target, head)
    unsafe store(UInt32(extents), target, head + 4)
    return head + 8
  }

  /// The bytes of one extent.
  @inline(__always)
  public static func extentLength(extended: Bool) -> Int { extended ? 16 : 8 }

  /// One extent of a context.
  @inline(__always)
  public static func extent(
    _ target: UnsafeMutableRawPointer, length: UInt64, flags: UInt32, extended: Bool
  ) -> Int {
    guard extended else {
      // A request without an extended header is shorter than 4 GiB, and so are its extents.
      unsafe store(UInt32(truncatingIfNeeded: length), target, 0)
      unsafe store(flags, target, 4)
      return 8
    }
    unsafe store(length, target, 0)
    unsafe store(UInt64(flags), target, 8)
    return 16
  }

  /// A structured error with its message.
  public static func error(
    _ target: UnsafeMutableRawPointer, _ to: ReplyTo, error: ReplyError, message: StaticString
  ) -> Int {
    let length = min(message.utf8CodeUnitCount, longestHead - (to.extended ? 32 : 20) - 6)
    let head = unsafe chunk(target, Chunk.error, to, UInt32(6 + length), true)
    unsafe store(error.rawValue, target, head)
    unsafe store(UInt16(length), target, head + 4)
    unsafe (target + head + 6).copyMemory(from: message.utf8Start, byteCount: length)
    return head + 6 + length
  }

  /// Stores the head of a chunk and returns its length.
  @inline(__always)
  private static func chunk(
    _ target: UnsafeMutableRawPointer, _ type: UInt16, _ to: ReplyTo, _ length: UInt32,
    _ last: Bool
  ) -> Int {
    unsafe store(to.extended ? Magic.extendedReply : Magic.structuredReply, target, 0)
    unsafe store(last ? done : 0, target, 4)
    unsafe store(type, target, 6)
    unsafe store(to.cookie, target, 8)
    guard to.extended else {
      unsafe store(length, target, 16)
      return 20
    }
    unsafe store(to.offset, target, 16)
    unsafe store(UInt64(length), target, 24)
    return 32
  }

  @inline(__always)
  private static func store<Number: FixedWidthInteger>(
    _ number: Number, _ target: UnsafeMutableRawPointer, _ offset: Int
  ) {
    unsafe target.storeBytes(of: number.bigEndian, toByteOffset: offset, as: Number.self)
  }
}

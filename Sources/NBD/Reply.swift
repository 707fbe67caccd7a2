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
    _ target: UnsafeMutableRawPointer, cookie: UInt64, offset: UInt64, length: UInt32, last: Bool
  ) -> Int {
    unsafe chunk(target, Chunk.offsetData, cookie, length + 8, last)
    unsafe store(offset, target, 20)
    return 28
  }

  /// A range that reads as zeros.
  @inline(__always)
  public static func hole(
    _ target: UnsafeMutableRawPointer, cookie: UInt64, offset: UInt64, length: UInt32, last: Bool
  ) -> Int {
    unsafe chunk(target, Chunk.offsetHole, cookie, 12, last)
    unsafe store(offset, target, 20)
    unsafe store(length, target, 28)
    return 32
  }

  /// An empty chunk that ends a reply.
  public static func none(_ target: UnsafeMutableRawPointer, cookie: UInt64) -> Int {
    unsafe chunk(target, Chunk.none, cookie, 0, true)
    return 20
  }

  /// The head of a reply to BLOCK_STATUS; `extents` descriptors follow.
  public static func blockStatus(
    _ target: UnsafeMutableRawPointer, cookie: UInt64, extents: Int
  ) -> Int {
    unsafe chunk(target, Chunk.blockStatus, cookie, UInt32(4 + 8 * extents), true)
    unsafe store(AllocationContext.identifier, target, 20)
    return 24
  }

  /// One extent of `base:allocation`.
  @inline(__always)
  public static func extent(
    _ target: UnsafeMutableRawPointer, length: UInt32, isHole: Bool
  ) -> Int {
    unsafe store(length, target, 0)
    // A hole has the flags HOLE and ZERO, allocated memory has neither.
    unsafe store(UInt32(isHole ? 0b11 : 0), target, 4)
    return 8
  }

  /// A structured error with its message.
  public static func error(
    _ target: UnsafeMutableRawPointer, cookie: UInt64, error: ReplyError, message: StaticString
  ) -> Int {
    let length = min(message.utf8CodeUnitCount, longestHead - 26)
    unsafe chunk(target, Chunk.error, cookie, UInt32(6 + length), true)
    unsafe store(error.rawValue, target, 20)
    unsafe store(UInt16(length), target, 24)
    unsafe (target + 26).copyMemory(from: message.utf8Start, byteCount: length)
    return 26 + length
  }

  @inline(__always)
  private static func chunk(
    _ target: UnsafeMutableRawPointer, _ type: UInt16, _ cookie: UInt64, _ length: UInt32,
    _ last: Bool
  ) {
    unsafe store(Magic.structuredReply, target, 0)
    unsafe store(last ? done : 0, target, 4)
    unsafe store(type, target, 6)
    unsafe store(cookie, target, 8)
    unsafe store(length, target, 16)
  }

  @inline(__always)
  private static func store<Number: FixedWidthInteger>(
    _ number: Number, _ target: UnsafeMutableRawPointer, _ offset: Int
  ) {
    unsafe target.storeBytes(of: number.bigEndian, toByteOffset: offset, as: Number.self)
  }
}

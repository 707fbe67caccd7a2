import HugeMemory
import NBD

extension Transmission {
  /// Answers BLOCK_STATUS: one chunk for each context that the client selected, or that it names in
  /// the payload.
  mutating func blockStatus(_ request: Request) throws(MemoryError) -> Bool {
    var contexts = session.contexts
    var length = request.length
    if request.flags.contains(.payloadLength) {
      switch payload(request) {
      case .gone: return false
      case .refused(let error): return refuse(request, error)
      case .range(let wanted, let effective): (contexts, length) = (wanted, effective)
      }
    }
    var end = request.offset + length
    if late != nil {
      do throws(LateError) { end = try bringFirst(request.offset..<end) } catch {
        return refuse(request, Self.error(for: error, changes: false))
      }
    }
    let to = ReplyTo(request, extended: session.extended)
    while let context = contexts.first {
      contexts.subtract(context)
      guard
        try extents(
          of: context, request.offset, end, to, one: request.flags.contains(.requireOne),
          last: contexts.isEmpty)
      else { return false }
    }
    return true
  }

  private enum Payload {
    case range(MetaContexts, length: UInt64)
    case refused(RequestError)
    case gone
  }

  /// The longest payload: the length and a list of contexts. It fits the smallest buffer.
  private static var longestPayload: UInt64 { 4096 }

  /// Takes the payload of a request: the length of the range, and identifiers of contexts.
  private mutating func payload(_ request: Request) -> Payload {
    func refused(_ message: StaticString) -> Payload {
      .refused(RequestError(error: .invalid, message: message))
    }
    let count = request.length
    guard count <= Self.longestPayload, count >= 12, count % 4 == 0 else {
      guard skip(count) else { return .gone }
      return refused("payload: must be a length of 8 bytes, and 4 bytes for each context")
    }
    while input.available < Int(count) { guard receive() else { return .gone } }
    let bytes = unsafe UnsafeRawPointer(input.bytes)
    let length = unsafe UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self))
    var wanted: MetaContexts? = []
    for place in stride(from: 8, to: Int(count), by: 4) {
      let identifier = unsafe UInt32(
        bigEndian: bytes.loadUnaligned(fromByteOffset: place, as: UInt32.self))
      if let context = MetaContexts(identifier: identifier), session.contexts.contains(context) {
        wanted?.insert(context)
      } else {
        wanted = nil
      }
    }
    input.take(Int(count))
    guard let wanted else { return refused("payload: a context that was not selected") }
    let size = settings.size
    guard length > 0, request.offset <= size, length <= size - request.offset else {
      return refused("payload: a range that is empty, or beyond the end of the export")
    }
    return .range(wanted, length: length)
  }

  /// Adds the chunk of one context: extents from `offset` on, merged and clipped to the request. At
  /// most `Limits.extents`, or as many as there is room for. The client asks again for the rest.
  private mutating func extents(
    of context: MetaContexts, _ offset: UInt64, _ end: UInt64, _ to: ReplyTo, one: Bool, last: Bool
  ) throws(MemoryError) -> Bool {
    output.grow()
    let each = Reply.extentLength(extended: session.extended)
    let limit = one ? 1 : min(Limits.extents, (output.largest - Reply.longestHead) / each)
    guard let head = unsafe output.reserve(Reply.longestHead + each * limit) else { return false }
    // Only to skip the head. It is stored again once the number of extents is known.
    var filled = unsafe Reply.blockStatus(head, to, context: context, extents: 0, last: last)
    var at = offset
    var count = 0
    while at < end && count < limit {
      let (flags, next) = try extent(of: context, at, end)
      filled += unsafe Reply.extent(
        head + filled, length: next - at, flags: flags, extended: session.extended)
      count += 1
      at = next
    }
    _ = unsafe Reply.blockStatus(head, to, context: context, extents: count, last: last)
    output.commit(filled)
    return true
  }

  /// The flags of the first extent of a range, and its end.
  private func extent(
    of context: MetaContexts, _ offset: UInt64, _ end: UInt64
  ) throws(MemoryError) -> (flags: UInt32, end: UInt64) {
    switch context {
    case .frames:
      let (backing, end) = try space.firstBacking(at: offset, length: end - offset)
      let flags: UInt32 =
        switch backing {
        case .none: 0
        case .zero: 1
        case .small: 2
        case .huge: 4
        }
      return (flags, end)
    case .origin:
      guard let snapshot else { return try extent(of: .allocation, offset, end) }
      let part = try space.firstComparison(with: snapshot, at: offset, length: end - offset)
      guard !part.isSame else { return (1, part.end) }
      let changed = try run(offset, part.end)
      return (changed.kind == .data ? 0 : 2, changed.end)
    default:
      let part = try run(offset, end)
      // A hole has the flags HOLE and ZERO, allocated memory has neither.
      return (part.kind == .data ? 0 : 0b11, part.end)
    }
  }
}

import HugeMemory
import NBD

extension Transmission {
  mutating func read(_ request: Request) throws(MemoryError) -> Bool {
    guard session.structured else {
      guard let head = unsafe output.reserve(Reply.longestHead) else { return false }
      output.commit(unsafe Reply.simple(head, cookie: request.cookie))
      return try data(request.offset, UInt32(truncatingIfNeeded: request.length))
    }
    let to = ReplyTo(request, extended: session.extended)
    if request.length == 0 {
      guard let head = unsafe output.reserve(Reply.longestHead) else { return false }
      output.commit(unsafe Reply.none(head, to))
      return true
    }
    if request.flags.contains(.dontFragment) {
      return try chunk(
        to, request.offset, UInt32(truncatingIfNeeded: request.length), last: true)
    }
    let end = request.offset + request.length
    var at = request.offset
    while at < end {
      let extent = try run(at, end)
      let last = extent.end == end
      if extent.kind == .data {
        guard try chunk(to, at, UInt32(extent.length), last: last) else { return false }
      } else {
        guard let head = unsafe output.reserve(Reply.longestHead) else { return false }
        output.commit(
          unsafe Reply.hole(
            head, to, offset: at, length: UInt32(extent.length), last: last))
      }
      at = extent.end
    }
    return true
  }

  /// The first extent of a range. Holes and mappings of the zero page count as the same: both take
  /// no memory and read as zeros.
  func run(_ offset: UInt64, _ end: UInt64) throws(MemoryError) -> Extent {
    var extent = try space.firstExtent(at: offset, length: end - offset)
    while extent.kind != .data, extent.end < end {
      let next = try space.firstExtent(at: extent.end, length: end - extent.end)
      guard next.kind != .data else { break }
      extent.length += next.length
    }
    return extent
  }

  private mutating func chunk(
    _ to: ReplyTo, _ offset: UInt64, _ length: UInt32, last: Bool
  ) throws(MemoryError) -> Bool {
    guard let head = unsafe output.reserve(Reply.longestHead) else { return false }
    output.commit(
      unsafe Reply.data(head, to, offset: offset, length: length, last: last))
    return try data(offset, length)
  }

  /// Adds the data of a reply. Small data is copied, larger data is sent from its frames.
  private mutating func data(_ offset: UInt64, _ length: UInt32) throws(MemoryError) -> Bool {
    if length > Self.copyLimit {
      return try output.pin(space, at: offset, length: UInt64(length))
    }
    guard length > 0 else { return true }
    return try output.copy(space, offset, Int(length))
  }
}

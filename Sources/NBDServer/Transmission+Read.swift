import HugeMemory
import NBD

extension Transmission {
  mutating func read(_ request: Request) throws(MemoryError) -> Bool {
    let cookie = request.cookie
    guard session.structured else {
      guard let head = unsafe output.reserve(Reply.longestHead) else { return false }
      output.commit(unsafe Reply.simple(head, cookie: cookie))
      return try data(request.offset, request.length)
    }
    if request.length == 0 {
      guard let head = unsafe output.reserve(Reply.longestHead) else { return false }
      output.commit(unsafe Reply.none(head, cookie: cookie))
      return true
    }
    if request.flags.contains(.dontFragment) {
      return try chunk(cookie, request.offset, request.length, last: true)
    }
    let end = request.offset + UInt64(request.length)
    var at = request.offset
    while at < end {
      let extent = try run(at, end)
      let last = extent.end == end
      if extent.kind == .data {
        guard try chunk(cookie, at, UInt32(extent.length), last: last) else { return false }
      } else {
        guard let head = unsafe output.reserve(Reply.longestHead) else { return false }
        output.commit(
          unsafe Reply.hole(
            head, cookie: cookie, offset: at, length: UInt32(extent.length), last: last))
      }
      at = extent.end
    }
    return true
  }

  /// Answers with extents of `base:allocation`. They are merged and clipped to the request, so the
  /// length of each fits 32 bits.
  mutating func blockStatus(_ request: Request) throws(MemoryError) -> Bool {
    let end = request.offset + UInt64(request.length)
    output.grow()
    let most = min(Limits.extents, (output.largest - Reply.longestHead) / 8)
    let limit = request.flags.contains(.requireOne) ? 1 : most
    guard let head = unsafe output.reserve(Reply.longestHead + 8 * limit) else { return false }
    // Only to skip the head. It is stored again once the number of extents is known.
    var filled = unsafe Reply.blockStatus(head, cookie: request.cookie, extents: 0)
    var at = request.offset
    var count = 0
    while at < end && count < limit {
      let extent = try run(at, end)
      filled += unsafe Reply.extent(
        head + filled, length: UInt32(extent.length), isHole: extent.kind != .data)
      count += 1
      at = extent.end
    }
    _ = unsafe Reply.blockStatus(head, cookie: request.cookie, extents: count)
    output.commit(filled)
    return true
  }

  /// The first extent of a range. Holes and mappings of the zero page count as the same: both take
  /// no memory and read as zeros.
  private func run(_ offset: UInt64, _ end: UInt64) throws(MemoryError) -> Extent {
    var extent = try space.firstExtent(at: offset, length: end - offset)
    while extent.kind != .data, extent.end < end {
      let next = try space.firstExtent(at: extent.end, length: end - extent.end)
      guard next.kind != .data else { break }
      extent.length += next.length
    }
    return extent
  }

  private mutating func chunk(
    _ cookie: UInt64, _ offset: UInt64, _ length: UInt32, last: Bool
  ) throws(MemoryError) -> Bool {
    guard let head = unsafe output.reserve(Reply.longestHead) else { return false }
    output.commit(
      unsafe Reply.data(head, cookie: cookie, offset: offset, length: length, last: last))
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

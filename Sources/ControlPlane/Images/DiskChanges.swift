import Glibc
import HugeMemory
import NBDServer

/// Copies the changes of a fork out of a space and onto another.
enum DiskChanges {
  private static let chunk = 2 << 20

  /// Writes what differs between a space and its origin to a file, each range at its own offset, and
  /// gives the ranges to `found`, some thousands at a time.
  static func save(
    _ space: AddressSpace, origin: AddressSpace, size: UInt64, to file: OpenFile, name: String,
    caller: Caller, progress: DiskFile.Progress, found: ([ChangedRange]) throws -> Void
  ) throws {
    var status = stat()
    guard unsafe fstat(file.descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      throw ControlError("\(name): changes go to a regular file, since each has its place in it")
    }
    let target = try ImageTarget(file, name: name, size: size, caller: caller)
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: chunk, alignment: 4096)
    defer { unsafe buffer.deallocate() }
    var ranges: [ChangedRange] = []
    var reported: UInt64 = 0
    var at: UInt64 = 0
    while at < size {
      let part = try space.firstComparison(with: origin, at: at, length: size - at)
      while !part.isSame, at < part.end {
        try caller.check()
        let extent = try space.firstExtent(at: at, length: part.end - at)
        ranges.append(
          ChangedRange(at, extent.length, data: extent.kind == .data))
        while extent.kind == .data, at < extent.end {
          let count = Int(min(extent.end - at, UInt64(chunk)))
          let bytes = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])
          unsafe try space.read(at: at, into: bytes)
          unsafe try target.write(UnsafeRawBufferPointer(bytes), at: at)
          at += UInt64(count)
        }
        at = extent.end
        if ranges.count >= ChangeMap.part {
          try found(ranges)
          ranges.removeAll(keepingCapacity: true)
        }
      }
      at = part.end
      if at - reported >= 32 << 20 {
        progress(at, size)
        reported = at
      }
    }
    if !ranges.isEmpty { try found(ranges) }
    try target.finish(size: size)
    progress(size, size)
  }

  /// Makes the changes to a space.
  static func apply(
    _ ranges: [ChangedRange], from source: ImageSource, to space: AddressSpace, caller: Caller,
    progress: DiskFile.Progress
  ) throws {
    guard let size = source.size else {
      throw ControlError("\(source.name): changes come from a regular file, not from a stream")
    }
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: chunk, alignment: 4096)
    defer { unsafe buffer.deallocate() }
    let total = ranges.reduce(0) { $0 &+ ($1.data ? $1.length : 0) }
    var done: UInt64 = 0
    for range in ranges {
      try caller.check()
      guard range.data else {
        try space.discard(at: range.start, length: range.length)
        continue
      }
      guard range.start + range.length <= size else {
        throw ControlError("\(source.name): is shorter than its map says")
      }
      var at = range.start
      while at < range.start + range.length {
        try caller.check()
        let wanted = Int(min(range.start + range.length - at, UInt64(chunk) - at % UInt64(chunk)))
        let got = unsafe pread(
          source.descriptor, buffer.baseAddress, wanted, source.start + Int(at))
        if got < 0, errno == EINTR { continue }
        guard got > 0 else {
          throw got < 0
            ? ControlError("read \(source.name)", errno: errno)
            : ControlError("\(source.name): became shorter while it was read")
        }
        unsafe try space.write(at: at, from: UnsafeRawBufferPointer(rebasing: buffer[..<got]))
        at += UInt64(got)
        done += UInt64(got)
        if done & (32 << 20 - 1) == 0 { progress(done, total) }
      }
    }
    progress(total, total)
  }
}

// Reads and writes without pointers.
extension AddressSpace {
  /// Writes bytes, as many as the span has. Memory shared with a fork is copied first, 4 KiB at a
  /// time.
  ///
  /// Throws `outOfRange` if the bytes do not fit below the size, and `notMapped` or `accessDenied` if
  /// a mapping does not allow writing. Then nothing has changed. Throws `outOfMemory` or `overQuota`
  /// if there is no room even after reclaim. Some pages may have been written by then.
  ///
  /// - Complexity: O(bytes).
  /// - Thread safety: lock-free where this space alone owns the memory.
  public func write(at offset: UInt64, from source: RawSpan) throws(MemoryError) {
    try unsafe source.withUnsafeBytes { (bytes) throws(MemoryError) in
      unsafe try write(at: offset, from: bytes)
    }
  }

  /// Reads bytes, as many as the span has. Memory that nobody wrote reads as zeros.
  ///
  /// Throws `outOfRange` if there are not so many bytes below the size, and `notMapped` or
  /// `accessDenied` if a mapping does not allow reading.
  ///
  /// - Complexity: O(bytes).
  /// - Thread safety: takes no lock where memory is mapped. The first read of a hole takes the
  ///   space's lock to map the zero page there.
  public func read(at offset: UInt64, into target: inout MutableRawSpan) throws(MemoryError) {
    try unsafe target.withUnsafeMutableBytes { (bytes) throws(MemoryError) in
      unsafe try read(at: offset, into: bytes)
    }
  }

  /// Reads a range into an array of `range.count` bytes. Throws as `read(at:into:)` does.
  ///
  /// - Complexity: O(`range.count`).
  public func read(_ range: Range<UInt64>) throws(MemoryError) -> [UInt8] {
    try check(range.lowerBound, range.upperBound - range.lowerBound)
    var bytes = [UInt8](repeating: 0, count: range.count)
    var span = bytes.mutableSpan
    // SAFETY: every bit pattern is a `UInt8`.
    var target = unsafe span.mutableBytes
    try read(at: range.lowerBound, into: &target)
    return bytes
  }

  /// The number at an offset, in this machine's byte order; 0 where nothing was written. The offset
  /// need not be aligned. Throws as `read(at:into:)` does.
  ///
  /// - Complexity: O(1).
  public func load<Number: FixedWidthInteger & BitwiseCopyable>(
    at offset: UInt64, as _: Number.Type = Number.self
  ) throws(MemoryError) -> Number {
    var number: Number = 0
    // SAFETY: an integer has no invalid bit patterns.
    var bytes = unsafe MutableRawSpan(
      _unsafeStart: &number, byteCount: MemoryLayout<Number>.size)
    try read(at: offset, into: &bytes)
    return number
  }

  /// Writes a number, in this machine's byte order. The offset need not be aligned. Throws as
  /// `write(at:from:)` does.
  ///
  /// - Complexity: O(1); a copy of 4 KiB if a fork shares the memory.
  public func store<Number: FixedWidthInteger & BitwiseCopyable>(
    _ number: Number, at offset: UInt64
  ) throws(MemoryError) {
    try unsafe withUnsafeBytes(of: number) { (bytes) throws(MemoryError) in
      unsafe try write(at: offset, from: bytes)
    }
  }
}

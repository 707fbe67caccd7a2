// Reads and writes without pointers.
extension AddressSpace {
  /// Copies bytes in, as `write(at:from:)` with a pointer does.
  public func write(at offset: UInt64, from source: RawSpan) throws(MemoryError) {
    try unsafe source.withUnsafeBytes { (bytes) throws(MemoryError) in
      unsafe try write(at: offset, from: bytes)
    }
  }

  /// Copies bytes out, as `read(at:into:)` with a pointer does.
  public func read(at offset: UInt64, into target: inout MutableRawSpan) throws(MemoryError) {
    try unsafe target.withUnsafeMutableBytes { (bytes) throws(MemoryError) in
      unsafe try read(at: offset, into: bytes)
    }
  }

  /// The number at an offset, in this machine's byte order; 0 where nothing was written.
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

  /// Writes a number, in this machine's byte order.
  public func store<Number: FixedWidthInteger & BitwiseCopyable>(
    _ number: Number, at offset: UInt64
  ) throws(MemoryError) {
    try unsafe withUnsafeBytes(of: number) { (bytes) throws(MemoryError) in
      unsafe try write(at: offset, from: bytes)
    }
  }
}

import HugeMemory

/// Reads one byte in every page of 200 MiB that nobody wrote, as the test in the patch of 2012 did.
/// With the zero page, that takes 2 MiB; without it, 200 MiB.
///
/// Memory is counted in frames. Resident memory shows nothing here, because the system backs frames
/// that are only read with a huge zero page of its own.
func zeroPage() throws(MemoryError) -> Report {
  var report = Report(.zeroPage)
  let size: UInt64 = 200 << 20
  let with = try readThrough(size, useZeroPage: true)
  let without = try readThrough(size, useZeroPage: false)
  let page: UInt64 = 2 << 20
  // The page and the tables that map it, and nothing else.
  report.add(
    "frames with the zero page", Double(with.frames), .bytes, goal: Double(page + 64 * 1024))
  report.add("frames without", Double(without.frames), .bytes)
  report.add("with over without", Double(with.frames) / Double(without.frames), .ratio)
  report.add("frames after the space is gone", Double(with.left), .bytes, goal: 0)
  return report
}

private func readThrough(
  _ size: UInt64, useZeroPage: Bool
) throws(MemoryError) -> (frames: UInt64, left: UInt64) {
  var policy = Policy.linux
  policy.useZeroPage = useZeroPage
  let machine = try Machine(limit: size + 16 * 1_048_576, policy: policy, background: .none)
  var frames: UInt64 = 0
  do {
    let space = try machine.makeSpace(size: size)
    for offset in stride(from: 0, to: size, by: 4096) { try space.touch(offset) }
    frames = machine.memoryUsed
  }
  machine.shrink()
  return (frames, machine.memoryUsed)
}

extension AddressSpace {
  /// Reads one byte.
  @inline(__always)
  func touch(_ offset: UInt64) throws(MemoryError) {
    var byte: UInt8 = 0
    try unsafe withUnsafeMutableBytes(of: &byte) { (bytes) throws(MemoryError) in
      try unsafe read(at: offset, into: bytes)
    }
  }
}

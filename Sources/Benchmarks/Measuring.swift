import Glibc

/// Wall-clock time, in nanoseconds.
@inline(__always)
func now() -> UInt64 { read(CLOCK_MONOTONIC) }

/// CPU time of this thread, in nanoseconds. On a shared machine this leaves out the time when other
/// processes ran. Waiting for a cache line and spinning count.
@inline(__always)
func ownTime() -> UInt64 { read(CLOCK_THREAD_CPUTIME_ID) }

@inline(__always)
private func read(_ clock: clockid_t) -> UInt64 {
  var time = timespec()
  unsafe clock_gettime(clock, &time)
  return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

/// The values of many rounds, reported by their median. A round that another process disturbed
/// hardly moves it.
struct Samples {
  private(set) var values: [Double] = []

  mutating func add(_ value: Double) { values.append(value) }

  var median: Double { quantile(0.5) }
  /// Half the distance between the quartiles.
  var spread: Double { (quantile(0.75) - quantile(0.25)) / 2 }

  /// The approximate standard error of the median: that of a normal distribution of this spread.
  var errorOfMedian: Double { 1.253 * spread / 0.6745 / Double(values.count).squareRoot() }

  func quantile(_ part: Double) -> Double {
    precondition(!values.isEmpty, "bench: no rounds")
    let place = part * Double(values.count - 1)
    let sorted = values.sorted()
    let below = Int(place)
    let above = min(below + 1, sorted.count - 1)
    return sorted[below] + (sorted[above] - sorted[below]) * (place - Double(below))
  }
}

/// The resident memory of this process, in bytes. `smaps_rollup` counts pages; `statm` is a sum of
/// per-core counters that may lag by some hundred KiB.
func residentBytes() -> UInt64 {
  for line in contents(of: "/proc/self/smaps_rollup").split(separator: "\n")
  where line.hasPrefix("Rss:") {
    let fields = line.split(separator: " ")
    return (UInt64(fields[1]) ?? 0) * 1024
  }
  let fields = contents(of: "/proc/self/statm").split(separator: " ")
  return fields.count > 1 ? (UInt64(fields[1]) ?? 0) * UInt64(sysconf(Int32(_SC_PAGESIZE))) : 0
}

private func contents(of path: String) -> String {
  let file = unsafe open(path, O_RDONLY)
  guard file >= 0 else { return "" }
  defer { close(file) }
  return unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 8192) { buffer in
    let count = unsafe Glibc.read(file, buffer.baseAddress, buffer.count)
    return unsafe String(decoding: buffer[..<max(0, count)], as: UTF8.self)
  }
}

/// Repeatable random numbers (xorshift64*, Vigna 2016), so that every side of a comparison gets the
/// same.
struct Random: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed | 1 }

  @inline(__always)
  mutating func next() -> UInt64 {
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    return state &* 0x2545_F491_4F6C_DD1D
  }
}

/// Page-aligned memory to copy from or to.
@safe struct Bytes: ~Copyable {
  let target: UnsafeMutableRawBufferPointer
  var source: UnsafeRawBufferPointer { unsafe UnsafeRawBufferPointer(target) }

  init(_ count: Int, of byte: UInt8) {
    unsafe target = .allocate(byteCount: count, alignment: 4096)
    unsafe target.initializeMemory(as: UInt8.self, repeating: byte)
  }
  deinit { unsafe target.deallocate() }
}

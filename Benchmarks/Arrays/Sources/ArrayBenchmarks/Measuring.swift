import Glibc

/// Wall-clock time, in nanoseconds.
@inline(__always)
func now() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return Double(time.tv_sec) * 1e9 + Double(time.tv_nsec)
}

/// Something to measure: what is compared, the name of the contestant, and one round.
struct Entry {
  var name: String
  /// Operations in a round.
  var count: Int
  var round: () -> Void
}

/// Runs the entries in turn, so that whatever else the machine does disturbs all of them alike.
/// Prints the median of each, for one operation, and how it compares with the first.
func compare(_ title: String, rounds: Int, _ entries: [Entry]) {
  var times = entries.map { _ in [Double]() }
  for round in -1..<rounds {
    for (index, entry) in entries.enumerated() {
      let start = now()
      entry.round()
      // The round before the first fills caches and page tables.
      if round >= 0 { times[index].append((now() - start) / Double(entry.count)) }
    }
  }
  print(title)
  let medians = times.map { $0.sorted()[$0.count / 2] }
  for (entry, median) in zip(entries, medians) {
    line(entry.name, time(median), "\(rounded(medians[0] / median)) × \(entries[0].name)")
  }
}

func line(_ name: String, _ value: String, _ note: String = "") {
  let name = name.padding(44)
  print("  \(name)\(String(repeating: " ", count: max(0, 12 - value.count)))\(value)   \(note)")
}

extension String {
  func padding(_ width: Int) -> String {
    self + String(repeating: " ", count: max(1, width - count))
  }
}

func time(_ nanoseconds: Double) -> String {
  switch nanoseconds {
  case ..<1000: "\(rounded(nanoseconds)) ns"
  case ..<1e6: "\(rounded(nanoseconds / 1e3)) µs"
  case ..<1e9: "\(rounded(nanoseconds / 1e6)) ms"
  default: "\(rounded(nanoseconds / 1e9)) s"
  }
}

/// Three digits.
func rounded(_ value: Double) -> String {
  if value >= 100 { return "\(Int(value.rounded()))" }
  let scale: Double = value >= 10 ? 10 : value >= 1 ? 100 : 1000
  return "\((value * scale).rounded() / scale)"
}

/// The resident memory of this process, in bytes.
func resident() -> Double {
  guard let file = fopen("/proc/self/statm", "r") else { return 0 }
  defer { fclose(file) }
  var (size, pages) = (0, 0)
  withUnsafeMutablePointer(to: &size) { size in
    withUnsafeMutablePointer(to: &pages) { pages in
      _ = withVaList([size, pages]) { vfscanf(file, "%ld %ld", $0) }
    }
  }
  return Double(pages * 4096)
}

/// Repeatable random numbers (xorshift64*, Vigna 2016).
struct Random {
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

/// Keeps the compiler from leaving work out.
nonisolated(unsafe) var sink = 0

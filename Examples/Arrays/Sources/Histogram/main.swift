// A histogram with 2^40 buckets: 8 TiB of counters, indexed directly. Memory goes to the pages that
// are hit. Values of the real world come in clusters, so there are few of those.
import HugeArrays

var buckets = HugeArray<Int64>(count: 1 << 40)

// Response times in picoseconds, of which most are near one of a few peaks.
struct Random {
  var state: UInt64 = 42
  mutating func next() -> UInt64 {
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    return state &* 0x2545_F491_4F6C_DD1D
  }
}
let peaks = [1_200_000, 85_000_000, 40_000_000_000, 700_000_000_000]
let samples = 1_000_000
var random = Random()
for _ in 0..<samples {
  let peak = peaks[Int(random.next() % 4)]
  let spread = (0..<8).reduce(0) { sum, _ in sum + Int(random.next() % 20_000) } - 80_000
  buckets[peak + spread] += 1
}

// Only what is in memory is looked at.
var total = 0
var fullest = (bucket: 0, count: Int64(0))
for range in buckets.nonZeroRanges {
  buckets.withContiguousPieces(in: range) { start, piece in
    for index in piece.indices {
      total += Int(piece[index])
      if piece[index] > fullest.count { fullest = (start + index, piece[index]) }
    }
  }
}
precondition(total == samples, "\(total) of \(samples) samples are in the histogram")
print("the fullest of \(buckets.count) buckets is \(fullest.bucket), with \(fullest.count) samples")
print("memory in use: \(buckets.machine.memoryUsed >> 10) KiB")

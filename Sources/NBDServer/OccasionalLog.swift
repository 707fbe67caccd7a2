import Logging

/// Events that a client can cause as often as it likes. Each is logged at most once a second, with
/// the number of times that it happened since the last line.
struct OccasionalLog {
  static let interval: UInt64 = 1_000_000_000

  private var counts: [String: Int] = [:]
  private var last: UInt64?

  /// `what` must be one of a few texts. It contains nothing that a client chooses.
  mutating func note(_ what: String) { counts[what, default: 0] += 1 }

  /// Milliseconds until the next line is due; nil if there is nothing to log.
  func due(now: UInt64) -> Int32? {
    guard !counts.isEmpty else { return nil }
    guard let last, now < last + Self.interval else { return 0 }
    return Int32((last + Self.interval - now + 999_999) / 1_000_000)
  }

  /// Removes and returns what is to be logged now.
  mutating func take(now: UInt64) -> [(what: String, count: Int)] {
    guard due(now: now) == 0 else { return [] }
    last = now
    defer { counts = [:] }
    return counts.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
  }
}

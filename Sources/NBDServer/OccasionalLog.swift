import Logging

/// Things that a client can make happen as often as it likes: each is logged once a second, with how
/// often it happened since.
struct OccasionalLog {
  static let interval: UInt64 = 1_000_000_000

  private var counts: [String: Int] = [:]
  private var last: UInt64?

  /// `what` is one of few texts: nothing that a client chooses is in it.
  mutating func note(_ what: String) { counts[what, default: 0] += 1 }

  /// Milliseconds until something is to be logged; nil if there is nothing.
  func due(now: UInt64) -> Int32? {
    guard !counts.isEmpty else { return nil }
    guard let last, now < last + Self.interval else { return 0 }
    return Int32((last + Self.interval - now + 999_999) / 1_000_000)
  }

  /// What is to be logged now.
  mutating func take(now: UInt64) -> [(what: String, count: Int)] {
    guard due(now: now) == 0 else { return [] }
    last = now
    defer { counts = [:] }
    return counts.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
  }
}

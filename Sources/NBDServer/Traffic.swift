import NBD
import Primitives
import Synchronization

/// What the clients of a disk have done since it was made. A request counts when it is done.
///
/// Each connection counts in words of its own, so no two connections write to one cache line. A sum is
/// taken when somebody asks.
///
/// - Thread safety: you may call every method on any thread.
public final class Traffic: Sendable {
  private let table = Mutex(Table())

  private struct Table {
    var live: [TrafficCounters] = []
    /// The sum over the connections that are gone; nil before the first one.
    var past: TrafficCounts?
  }

  public var counts: TrafficCounts {
    table.withLock { table in
      var sum = table.past ?? TrafficCounts()
      for counters in table.live { sum.add(counters) }
      return sum
    }
  }

  public var bytesRead: UInt64 { bytes(.read) }
  public var bytesWritten: UInt64 { bytes(.write) }

  private func bytes(_ operation: Command) -> UInt64 {
    table.withLock { table in
      let word = TrafficCounts.bytes(operation)
      return table.live.reduce(table.past?.words[word] ?? 0) { $0 &+ $1[word] }
    }
  }

  /// Begins to count for one connection.
  func begin() -> TrafficCounters {
    let counters = TrafficCounters()
    table.withLock { $0.live.append(counters) }
    return counters
  }

  /// The connection is gone.
  func end(_ counters: TrafficCounters) {
    table.withLock { table in
      var past = table.past ?? TrafficCounts()
      past.add(counters)
      table.past = past
      table.live.removeAll { $0 === counters }
    }
  }
}

/// Counts of requests, as a copy of one moment.
public struct TrafficCounts: Sendable {
  /// The upper bounds of all buckets but the last one, which has none: 4 µs to about 1 s.
  public static let bounds: [UInt64] = (2..<21).map { 1000 << UInt64($0) }

  // One row for each command: the requests, their bytes, their time in nanoseconds, and the buckets of
  // a histogram. Then the errors.
  static let row = 3 + 20
  private static let rows = 9
  private static let errorWords = 8
  static let count = rows * row + errorWords

  fileprivate(set) var words = [UInt64](repeating: 0, count: count)

  static func requests(_ command: Command) -> Int { Int(command.rawValue) * row }
  static func bytes(_ command: Command) -> Int { Int(command.rawValue) * row + 1 }
  static func nanoseconds(_ row: Int) -> Int { row * Self.row + 2 }
  static func errors(_ error: ReplyError) -> Int {
    let index =
      switch error {
      case .notPermitted: 0
      case .inputOutput: 1
      case .outOfMemory: 2
      case .invalid: 3
      case .noSpace: 4
      case .notSupported: 5
      }
    return rows * row + index
  }

  mutating func add(_ counters: TrafficCounters) {
    for index in words.indices { words[index] &+= counters[index] }
  }

  public func requests(_ command: Command) -> UInt64 { words[Self.requests(command)] }
  public func bytes(_ command: Command) -> UInt64 { words[Self.bytes(command)] }
  public func errors(_ error: ReplyError) -> UInt64 { words[Self.errors(error)] }
  /// The time from when the server had the requests until it had sent the replies, in nanoseconds.
  public func nanoseconds(_ command: Command) -> UInt64 {
    words[Self.nanoseconds(Int(command.rawValue))]
  }
  /// How many requests took at most each of `bounds`, and longer than the bound before; then those that
  /// took longer than all of them.
  public func histogram(_ command: Command) -> ArraySlice<UInt64> {
    let start = Self.requests(command) + 3
    return words[start..<start + Self.bounds.count + 1]
  }
}

/// The counts of one connection. Only its thread writes them, so each is a load and a store.
@safe final class TrafficCounters: @unchecked Sendable {
  // Sendable: a constant pointer to atomics, which one thread writes.

  /// (A) each.
  let words: AtomicWordPointer

  init() {
    let bytes = TrafficCounts.count * MemoryLayout<AtomicWord>.stride
    // Cache lines of its own.
    let raw = UnsafeMutableRawPointer.allocate(
      byteCount: (bytes + 63) & ~63, alignment: 64)
    unsafe words = raw.bindMemory(to: AtomicWord.self, capacity: TrafficCounts.count)
    for index in 0..<TrafficCounts.count { unsafe (words + index).initialize(to: AtomicWord(0)) }
  }

  deinit { unsafe UnsafeMutableRawPointer(words).deallocate() }

  subscript(index: Int) -> UInt64 { unsafe words[index].load(.relaxed) }

}

/// Counts the requests of a connection, and measures how long the server takes for them: from the `recv`
/// that brought the head of a request to the end of the `sendmsg` that took its reply. Requests whose
/// replies go together count as long as the first of them.
@safe struct TrafficMeter: ~Copyable {
  private let traffic: Traffic
  private let counters: TrafficCounters
  /// Those of the counters, so that a request counts no references.
  private let words: AtomicWordPointer
  /// When the last bytes came, on the monotonic clock; when the bytes with the head of the last request
  /// did; and when those of the first request did whose reply is not sent.
  private var received: UInt64 = 0
  private var taken: UInt64 = 0
  private var begun: UInt64 = 0
  private var pending = [9 of UInt32](repeating: 0)
  private var isPending = false

  init(_ traffic: Traffic) {
    self.traffic = traffic
    counters = traffic.begin()
    unsafe words = counters.words
  }

  @inline(__always)
  private func add(_ value: UInt64, at index: Int) {
    unsafe words[index].store(words[index].load(.relaxed) &+ value, .relaxed)
  }

  deinit { traffic.end(counters) }

  /// Bytes have come.
  mutating func receive() { received = monotonicTime() }

  /// The head of a request is taken from them.
  @inline(__always)
  mutating func take() { taken = received }

  /// A request is done, but for sending its reply.
  @inline(__always)
  mutating func count(_ command: Command, bytes: UInt64 = 0) {
    pending[Int(command.rawValue)] &+= 1
    if !isPending { (isPending, begun) = (true, taken) }
    if bytes > 0 { add(bytes, at: TrafficCounts.bytes(command)) }
  }

  func count(_ error: ReplyError) { add(1, at: TrafficCounts.errors(error)) }

  /// The replies are sent.
  mutating func end() {
    guard isPending else { return }
    isPending = false
    let time = max(1, monotonicTime() &- begun)
    // The bounds are 2^2 µs and so on. 1 µs counts as 1,000 ns here, as it does there.
    let exponent = UInt64.bitWidth - ((time - 1) / 1000).leadingZeroBitCount
    let bucket = min(max(exponent - 2, 0), TrafficCounts.bounds.count)
    for row in 0..<pending.count where pending[row] > 0 {
      let start = row * TrafficCounts.row
      add(UInt64(pending[row]), at: start)
      add(UInt64(pending[row]) &* time, at: TrafficCounts.nanoseconds(row))
      add(UInt64(pending[row]), at: start + 3 + bucket)
      pending[row] = 0
    }
  }
}

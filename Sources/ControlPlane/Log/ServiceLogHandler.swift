public import Logging
import Primitives
import Synchronization

/// The server's log, as a backend of swift-log. An event is one line in the format of the queue.
///
/// Each message may be logged `burst` times at once, then `perSecond` times a second, so that no client
/// can fill a disk with it. The next line that passes says how many were left out.
public struct ServiceLogHandler: LogHandler {
  static let burst: UInt64 = 20
  static let perSecond: UInt64 = 10

  public var metadata = Logger.Metadata()
  public var metadataProvider: Logger.MetadataProvider?
  public var logLevel = Logger.Level.notice
  private let queue: LogQueue
  private let allowances = Allowances()

  public init(_ queue: LogQueue) { self.queue = queue }

  public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  public func log(event: LogEvent) {
    guard let left = allowances.take(event.message.description, now: monotonicTime()) else {
      return
    }
    var pairs = metadata.merging(event.metadata ?? [:]) { $1 }
    if left > 0 { pairs["left_out"] = "\(left)" }
    let sorted = pairs.sorted { $0.key < $1.key }.map { ($0.key, $0.value.description) }
    queue.add(queue.format.line("\(event.level)", "\(event.message)", sorted))
  }

  /// How many lines of each message may still be logged.
  private final class Allowances: Sendable {
    private struct Allowance {
      /// What the message may use, in nanoseconds. A line costs 1 s / `perSecond`.
      var saved: UInt64
      var at: UInt64
      var leftOut = 0
    }
    private let table = Mutex<[String: Allowance]>([:])

    /// Returns nil if the line must be left out, else the number of lines left out since the last
    /// one.
    func take(_ message: String, now: UInt64) -> Int? {
      let cost = 1_000_000_000 / perSecond
      return table.withLock { table in
        // Messages are constants of this program. The bound is a precaution.
        if table.count > 256 { table = [:] }
        var allowance = table[message] ?? Allowance(saved: burst * cost, at: now)
        // A thread that looked at the clock later may have had its turn earlier.
        let now = max(now, allowance.at)
        allowance.saved = min(burst * cost, allowance.saved + (now - allowance.at))
        allowance.at = now
        guard allowance.saved >= cost else {
          allowance.leftOut += 1
          table[message] = allowance
          return nil
        }
        allowance.saved -= cost
        let leftOut = allowance.leftOut
        allowance.leftOut = 0
        table[message] = allowance
        return leftOut
      }
    }
  }
}

import CLinux
import Glibc
import Logging
import Synchronization

/// One thing that happened to a disk.
public struct DiskEvent: Sendable, Equatable {
  /// Counts from 1, without gaps.
  public var number: UInt64
  /// Seconds since 1970.
  public var time: Double
  public var kind: Kind
  public var disk: String
  /// The disk that it was forked from, or the name that it had before.
  public var other: String?

  public enum Kind: String, Sendable, CaseIterable {
    case created, forked, renamed, reset, resized, changed, removed
  }
}

/// What happened to the disks of a registry. The last events stay, for whoever asks later. The birth and
/// the end of each disk go to the log as well.
///
/// - Thread safety: you may call every method on any thread.
public final class DiskEvents: Sendable {
  /// How many events stay.
  public static let capacity = 4096

  private let log: Logger?
  private let state = Mutex(State())

  private struct State {
    /// The event with the number `n` is at `(n - 1) % capacity`.
    var events: [DiskEvent] = []
    var last: UInt64 = 0
    /// Descriptors that become readable with the next event.
    var waiting: [Int32] = []
  }

  init(log: Logger?) { self.log = log }

  func note(_ kind: DiskEvent.Kind, _ disk: String, _ other: String? = nil) {
    let time = Self.now()
    let waiting = state.withLock { state in
      state.last += 1
      let event = DiskEvent(
        number: state.last, time: time, kind: kind, disk: disk, other: other)
      if state.events.count < Self.capacity {
        state.events.append(event)
      } else {
        state.events[Int((state.last - 1) % UInt64(Self.capacity))] = event
      }
      defer { state.waiting = [] }
      return state.waiting
    }
    var one: UInt64 = 1
    for descriptor in waiting { _ = unsafe write(descriptor, &one, 8) }
    guard kind == .created || kind == .forked || kind == .removed else { return }
    log?.info(
      "disk \(kind.rawValue)",
      metadata: other.map { ["disk": "\(disk)", "origin": "\($0)"] } ?? ["disk": "\(disk)"])
  }

  /// The number of the last event.
  public var last: UInt64 { state.withLock { $0.last } }

  /// The events after the number `number`, and how many of them are no longer here. If there are none,
  /// `waiting` becomes readable with the next one: an event counter of the caller's.
  public func events(
    after number: UInt64, waiting: Int32 = -1
  ) -> (events: [DiskEvent], missed: UInt64) {
    state.withLock { state in
      let first = state.last - UInt64(state.events.count)
      // A number from an earlier server may be larger than any here.
      let start = number > state.last ? first : max(number, first)
      if start == state.last, waiting >= 0 { state.waiting.append(waiting) }
      return (
        (start..<state.last).map { state.events[Int($0 % UInt64(Self.capacity))] },
        number > state.last ? 0 : start - number
      )
    }
  }

  /// The caller closes its event counter.
  public func forget(_ waiting: Int32) {
    state.withLock { $0.waiting.removeAll { $0 == waiting } }
  }

  private static func now() -> Double {
    var time = timespec()
    unsafe clock_gettime(CLOCK_REALTIME, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec / 1_000_000) / 1000
  }
}

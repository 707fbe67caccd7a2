import Glibc
import Primitives
import Synchronization

/// The state that a monitor, its thread and its subscriptions share. Each holds a reference, so
/// none has to know which of the others are still alive.
final class PressureCore: Sendable {
  /// (C) Wakes the thread when somebody has subscribed or the monitor has ended.
  let wake: Descriptor
  /// (A) The raw value of the present level.
  private let current = AtomicWord(0)
  /// (A) 1 once the monitor is gone.
  private let ended = AtomicWord(0)
  /// (A) The monitor's thread; 0 until it runs.
  private let thread = AtomicWord(0)
  /// Held while a body runs, so that a cancellation can wait for it. Taken before `state`.
  private let delivering = Lock()
  private let state: Mutex<State>

  private struct State {
    var sources: [PressureSource]
    var unavailable: [UnavailableSource]
    var waitFailure: PressureError?
    var cause: PressureSource?
    var subscribers: [UInt64: Subscriber] = [:]
    var lastToken: UInt64 = 0
  }

  private struct Subscriber {
    let body: @Sendable (PressureLevel) -> Void
    let end: @Sendable () -> Void
    /// The level that the body was last called with; nil before the first call.
    var delivered: PressureLevel?
  }

  init(wake: Descriptor, sources: [PressureSource], unavailable: [UnavailableSource]) {
    self.wake = wake
    state = Mutex(State(sources: sources, unavailable: unavailable))
  }

  var level: PressureLevel { PressureLevel(rawValue: Int(current.load(.relaxed))) ?? .normal }
  var sources: [PressureSource] { state.withLock { $0.sources } }
  var unavailable: [UnavailableSource] { state.withLock { $0.unavailable } }
  var waitFailure: PressureError? { state.withLock { $0.waitFailure } }
  var cause: PressureSource? { state.withLock { $0.cause } }
  // `acquire` pairs with the `release` of `end`.
  var hasEnded: Bool { ended.load(.acquire) != 0 }

  // MARK: Any thread

  func add(
    _ body: @escaping @Sendable (PressureLevel) -> Void, end: @escaping @Sendable () -> Void
  ) -> UInt64 {
    let token = state.withLock { state in
      state.lastToken += 1
      state.subscribers[state.lastToken] = Subscriber(body: body, end: end)
      return state.lastToken
    }
    signal()
    return token
  }

  func remove(_ token: UInt64) {
    // The closures are released after the lock: releasing what they hold may call this again.
    _ = state.withLock { $0.subscribers.removeValue(forKey: token) }
  }

  /// Waits until no body runs. Returns at once if a body calls it.
  func waitForDelivery() {
    // Only the monitor's thread can find its own number here, so `relaxed` is enough.
    guard thread.load(.relaxed) != UInt64(pthread_self()) else { return }
    delivering.withLock {}
  }

  /// Ends the monitor. No body runs after this returns, except one that this is called from.
  func end() {
    ended.store(1, .release)
    signal()
    let subscribers = state.withLock { state in
      defer { state.subscribers = [:] }
      return state.subscribers
    }
    for subscriber in subscribers.values { subscriber.end() }
    waitForDelivery()
  }

  private func signal() {
    // The write should fail only if the counter is full, and then the thread is awake. It is tried
    // again all the same: a few extra calls are better than a thread that never ends.
    for _ in 0..<8 {
      do {
        return try wake.calls.write(wake.number, [1, 0, 0, 0, 0, 0, 0, 0])
      } catch { continue }
    }
  }

  // MARK: The monitor's thread

  func begin() { thread.store(UInt64(pthread_self()), .relaxed) }

  func drop(_ source: PressureSource, _ reason: PressureError) {
    state.withLock { state in
      if let index = state.sources.firstIndex(of: source) { state.sources.remove(at: index) }
      state.unavailable.append(UnavailableSource(source: source, reason: reason))
    }
  }

  func noteWait(_ failure: PressureError?) { state.withLock { $0.waitFailure = failure } }

  /// Sets the level and its cause, and calls the subscribers that have not been called with this
  /// level yet.
  func publish(_ level: PressureLevel, _ cause: PressureSource?) {
    // `relaxed`: the level publishes no other data.
    current.store(UInt64(level.rawValue), .relaxed)
    let tokens = state.withLock { state in
      state.cause = cause
      return state.subscribers.filter { $0.value.delivered != level }.keys.sorted()
    }
    for token in tokens {
      delivering.withLock {
        // Look it up again: the subscription may have been cancelled since.
        let body = state.withLock { state in
          state.subscribers[token]?.delivered = level
          return state.subscribers[token]?.body
        }
        body?(level)
      }
    }
  }
}

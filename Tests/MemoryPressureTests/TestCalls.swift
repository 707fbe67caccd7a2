import Foundation
import Glibc
import Synchronization

@testable import MemoryPressure

/// Makes the running kernel's calls on a fake tree, with these differences: a test can make a call
/// fail, it can raise events on files that have none, triggers are refused as the kernel would, and
/// time stands still until a test advances it.
final class TestCalls: SystemCalls {
  private let real = LinuxCalls()
  private let state = Mutex(State())

  struct State {
    var open: [Int32: String] = [:]
    var written: [Int32: String] = [:]
    /// Events that were raised and not yet polled, by descriptor.
    var raised: [Int32: Int16] = [:]
    var registrations: [String] = []
    var time = Duration.seconds(1000)
    /// Counts down. The call that makes it 0 fails.
    var untilFailure: Int?
    var failure = Errno(0)
    /// The call that failed, in words.
    var failed: String?
    /// Calls that fail each time, by a piece of their path.
    var broken: [String: Int32] = [:]
    /// Counts the events and changes that tests made.
    var happened = 0
    /// Whether the monitor has handled all of them, and waits.
    var isWaiting = false

    mutating func happen() {
      happened += 1
      isWaiting = false
    }
  }

  /// Waits until the monitor has handled all events, signals and changes of the time. Returns
  /// whether it has.
  func settle() -> Bool { eventually { with { $0.isWaiting } } }

  func with<T>(_ body: (inout State) -> sending T) -> sending T { state.withLock { body(&$0) } }

  /// Makes the n-th call from now fail, once.
  func fail(_ n: Int, with errno: Int32) {
    with { ($0.untilFailure, $0.failure, $0.failed) = (n, Errno(errno), nil) }
  }

  var failed: String? { with { $0.failed } }
  var openCount: Int { with { $0.open.count } }

  /// Raises events on the open files whose path ends with `suffix` and whose written text starts
  /// with `written`.
  func raise(_ suffix: String, written: String = "", _ events: Int32) {
    with { state in
      for (descriptor, path) in state.open where path.hasSuffix(suffix) {
        guard (state.written[descriptor] ?? "").hasPrefix(written) else { continue }
        state.raised[descriptor, default: 0] |= Int16(events)
      }
      state.happen()
    }
  }

  /// Adds to the event counter whose registration ends with `words`, as the kernel would.
  func signal(_ words: String) {
    let registered = with { $0.registrations.first { $0.hasSuffix(words) } }
    let counter = registered.flatMap { $0.split(separator: " ").first }.flatMap { Int32($0) }
    guard let counter else { return }
    try? real.write(counter, [1, 0, 0, 0, 0, 0, 0, 0])
    with { $0.happen() }
  }

  func advance(_ duration: Duration) {
    with {
      $0.time += duration
      $0.happen()
    }
  }

  private func count(_ call: String, _ path: String) throws(Errno) {
    let failure: Errno? = with { state in
      for (piece, errno) in state.broken where path.contains(piece) { return Errno(errno) }
      guard let left = state.untilFailure else { return nil }
      state.untilFailure = left == 1 ? nil : left - 1
      if left == 1 { state.failed = "\(call) \(path)" }
      return left == 1 ? state.failure : nil
    }
    if let failure { throw failure }
  }

  private func path(_ descriptor: Int32) -> String { with { $0.open[descriptor] ?? "closed" } }

  func open(_ path: String, _ flags: Int32) throws(Errno) -> Int32 {
    try count("open", path)
    let descriptor = try real.open(path, flags)
    with { $0.open[descriptor] = path }
    return descriptor
  }

  func close(_ descriptor: Int32) {
    with {
      $0.open[descriptor] = nil
      $0.written[descriptor] = nil
      $0.raised[descriptor] = nil
    }
    real.close(descriptor)
  }

  func read(
    _ descriptor: Int32, into bytes: inout [UInt8], from start: Int, at offset: Int
  ) throws(Errno) -> Int {
    try count("read", path(descriptor))
    return try real.read(descriptor, into: &bytes, from: start, at: offset)
  }

  func write(_ descriptor: Int32, _ bytes: [UInt8]) throws(Errno) {
    let path = path(descriptor)
    try count("write", path)
    let text = String(decoding: bytes, as: UTF8.self)
    if path.hasSuffix("pressure") || path.hasSuffix("pressure/memory") {
      // As psi_trigger_create does for a process without CAP_SYS_RESOURCE.
      let words = text.dropLast().split(separator: " ").compactMap { Int($0) }
      guard bytes.last == 0, words.count == 2, words[1] % 2_000_000 == 0, words[1] <= 10_000_000,
        words[0] > 0, words[0] <= words[1]
      else { throw Errno(EINVAL) }
    }
    with {
      $0.written[descriptor] = text
      if path.hasSuffix("cgroup.event_control") { $0.registrations.append(text) }
    }
    try real.write(descriptor, bytes)
  }

  func eventCounter() throws(Errno) -> Int32 {
    try count("eventfd", "counter")
    let descriptor = try real.eventCounter()
    with { $0.open[descriptor] = "counter" }
    return descriptor
  }

  func drain(_ counter: Int32) throws(Errno) {
    try count("drain", path(counter))
    try real.drain(counter)
  }

  /// Returns once a descriptor is ready, an event is raised, or the time has been advanced far
  /// enough.
  func poll(_ descriptors: inout [pollfd], milliseconds: Int32) throws(Errno) {
    let end = now() + .milliseconds(milliseconds)
    try count("poll", "poll")
    defer { with { $0.isWaiting = false } }
    while true {
      let happened = with { $0.happened }
      try real.poll(&descriptors, milliseconds: 1)
      let taken = with { state in
        var taken: [Int32: Int16] = [:]
        for descriptor in descriptors { taken[descriptor.fd] = state.raised[descriptor.fd] }
        for descriptor in taken.keys { state.raised[descriptor] = nil }
        return taken
      }
      for index in descriptors.indices {
        descriptors[index].revents |= taken[descriptors[index].fd] ?? 0
      }
      if descriptors.contains(where: { $0.revents != 0 }) { return }
      if milliseconds >= 0, now() >= end { return }
      with { $0.isWaiting = $0.happened == happened }
    }
  }

  func pause(_ duration: Duration) {}
  func now() -> Duration { with { $0.time } }
}

/// Waits until `condition` holds. Returns false after a time that only a hang exceeds.
func eventually(
  _ seconds: Int = 60, _ condition: () throws -> Bool
) rethrows -> Bool {
  let deadline = ContinuousClock.now + .seconds(seconds)
  while try !condition() {
    if ContinuousClock.now > deadline { return false }
    usleep(1000)
  }
  return true
}

/// The same without blocking a thread of the pool, which may be needed for what the condition waits
/// for. The pool has one thread per core for the tests of all suites, and some tests keep theirs
/// for minutes. A new task may not run before then.
func eventually(_ condition: () -> Bool) async throws -> Bool {
  let deadline = ContinuousClock.now + .seconds(600)
  while !condition() {
    if ContinuousClock.now > deadline { return false }
    try await Task.sleep(for: .milliseconds(1))
  }
  return true
}

import CLinux
import Glibc
import Primitives

/// The system calls of this module, so that a test can make any of them fail, or have its own
/// descriptors become ready.
protocol SystemCalls: Sendable {
  func open(_ path: String, _ flags: Int32) throws(Errno) -> Int32
  func close(_ descriptor: Int32)
  /// Reads at `offset` into the array; returns how much.
  func read(
    _ descriptor: Int32, into bytes: inout [UInt8], from start: Int, at offset: Int
  ) throws(Errno) -> Int
  func write(_ descriptor: Int32, _ bytes: [UInt8]) throws(Errno)
  func eventCounter() throws(Errno) -> Int32
  /// Reads an event counter, which becomes 0. Fails with EAGAIN if it was.
  func drain(_ counter: Int32) throws(Errno)
  /// Waits until a descriptor is ready or `milliseconds` have passed; -1 is for ever.
  func poll(_ descriptors: inout [pollfd], milliseconds: Int32) throws(Errno)
  func pause(_ duration: Duration)
  /// Since some moment in the past, never backwards.
  func now() -> Duration
}

/// What a call failed with.
struct Errno: Error, Equatable {
  let code: Int32
  init(_ code: Int32) { self.code = code }

  /// The reason of the call that just failed on this thread.
  static var last: Errno { Errno(errno) }
}

/// The running kernel. Interrupted calls are made again.
struct LinuxCalls: SystemCalls {
  func open(_ path: String, _ flags: Int32) throws(Errno) -> Int32 {
    while true {
      let descriptor = unsafe Glibc.open(path, flags | O_CLOEXEC)
      if descriptor >= 0 { return descriptor }
      if errno != EINTR { throw .last }
    }
  }

  func close(_ descriptor: Int32) { _ = Glibc.close(descriptor) }

  func read(
    _ descriptor: Int32, into bytes: inout [UInt8], from start: Int, at offset: Int
  ) throws(Errno) -> Int {
    while true {
      // Within the array: `start` is at most its count, by the slice's own check.
      let count = unsafe bytes[start...].withUnsafeMutableBytes {
        unsafe pread(descriptor, $0.baseAddress, $0.count, offset)
      }
      if count >= 0 { return count }
      if errno != EINTR { throw .last }
    }
  }

  func write(_ descriptor: Int32, _ bytes: [UInt8]) throws(Errno) {
    while unsafe Glibc.write(descriptor, bytes, bytes.count) != bytes.count {
      // Control files and counters take all or nothing.
      if errno != EINTR { throw .last }
    }
  }

  func eventCounter() throws(Errno) -> Int32 {
    let descriptor = hm_event_counter()
    guard descriptor >= 0 else { throw Errno(-descriptor) }
    return descriptor
  }

  func drain(_ counter: Int32) throws(Errno) {
    var count: UInt64 = 0
    while unsafe Glibc.read(counter, &count, 8) != 8 {
      if errno != EINTR { throw .last }
    }
  }

  func poll(_ descriptors: inout [pollfd], milliseconds: Int32) throws(Errno) {
    let count = descriptors.count
    if unsafe Glibc.poll(&descriptors, nfds_t(count), milliseconds) >= 0 { return }
    // An interrupted wait is a short one: the caller knows what the time is.
    guard errno == EINTR else { throw .last }
    for index in descriptors.indices { descriptors[index].revents = 0 }
  }

  func pause(_ duration: Duration) {
    usleep(UInt32(clamping: duration.microseconds))
  }

  func now() -> Duration { .nanoseconds(Int64(monotonicTime())) }
}

extension Duration {
  /// Rounded up and within what poll takes.
  var milliseconds: Int32 {
    let (seconds, attoseconds) = components
    let (whole, overflow) = seconds.multipliedReportingOverflow(by: 1000)
    guard !overflow else { return seconds < 0 ? 0 : .max }
    let rest = (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000
    return Int32(clamping: max(0, whole.addingReportingOverflow(rest).partialValue))
  }

  var microseconds: Int64 {
    let (seconds, attoseconds) = components
    let (whole, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000)
    return overflow ? .max : whole &+ attoseconds / 1_000_000_000_000
  }
}

import CLinux
import Glibc
import Primitives

/// The system calls of this module. A test replaces them to make any of them fail, or to make its
/// own descriptors become ready.
protocol SystemCalls: Sendable {
  func open(_ path: String, _ flags: Int32) throws(Errno) -> Int32
  func close(_ descriptor: Int32)
  /// Reads from `offset` in the file to `start` in the array. Returns the number of bytes read.
  func read(
    _ descriptor: Int32, into bytes: inout [UInt8], from start: Int, at offset: Int
  ) throws(Errno) -> Int
  func write(_ descriptor: Int32, _ bytes: [UInt8]) throws(Errno)
  func eventCounter() throws(Errno) -> Int32
  /// Reads an event counter and resets it to 0. Fails with EAGAIN if it is 0 already.
  func drain(_ counter: Int32) throws(Errno)
  /// Waits until a descriptor is ready or `milliseconds` have passed; -1 waits without end.
  func poll(_ descriptors: inout [pollfd], milliseconds: Int32) throws(Errno)
  func pause(_ duration: Duration)
  /// The time since some moment in the past. It never goes backwards.
  func now() -> Duration
}

/// The error number of a failed call.
struct Errno: Error, Equatable {
  let code: Int32
  init(_ code: Int32) { self.code = code }

  /// The error number of the call that has just failed on this thread.
  static var last: Errno { Errno(errno) }
}

/// The calls of the running kernel. Interrupted calls are repeated.
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
      // The read stays within the array: the slice traps if `start` exceeds its count.
      let count = unsafe bytes[start...].withUnsafeMutableBytes {
        unsafe pread(descriptor, $0.baseAddress, $0.count, offset)
      }
      if count >= 0 { return count }
      if errno != EINTR { throw .last }
    }
  }

  func write(_ descriptor: Int32, _ bytes: [UInt8]) throws(Errno) {
    while unsafe Glibc.write(descriptor, bytes, bytes.count) != bytes.count {
      // Control files and counters accept all bytes or none.
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
    // An interrupted wait counts as a short one, since the caller looks at the time anyway.
    guard errno == EINTR else { throw .last }
    for index in descriptors.indices { descriptors[index].revents = 0 }
  }

  func pause(_ duration: Duration) {
    usleep(UInt32(clamping: duration.microseconds))
  }

  func now() -> Duration { .nanoseconds(Int64(monotonicTime())) }
}

extension Duration {
  /// In milliseconds, rounded up and clamped to what poll accepts.
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

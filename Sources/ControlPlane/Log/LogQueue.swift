import Glibc
import Primitives
import Synchronization

/// Writes log lines to a file descriptor on a thread of its own. Nothing that happens to the log can
/// therefore stop or block the service: not a closed pipe, a full disk or a pipe that nobody reads.
///
/// A line that does not fit in the queue, or that cannot be written, is counted and dropped. The queue
/// writes the count once writing works again.
///
/// - Thread safety: you may call every method on any thread. Only `flush` waits.
@safe public final class LogQueue: @unchecked Sendable {
  // Sendable: the descriptor never changes, the semaphore is for threads, the lock guards the rest.

  /// The most bytes that may wait to be written.
  public static let capacity = 256 << 10

  private let descriptor: Int32
  let format: LogFormat
  private let state = Mutex(State())
  /// Posted when there is something to write.
  private let work: UnsafeMutablePointer<sem_t>

  private struct State {
    var waiting: [UInt8] = []
    var dropped: UInt64 = 0
    var isWriting = false
  }

  /// The queue and its thread live as long as the process. If no thread can start, every line is
  /// dropped.
  public init(descriptor: Int32, format: LogFormat = .text) {
    (self.descriptor, self.format) = (descriptor, format)
    unsafe work = .allocate(capacity: 1)
    unsafe sem_init(work, 0, 0)
    WorkerThread { [self] in run() }?.detach()
  }

  /// Adds one line, without its end.
  public func add(_ line: String) {
    state.withLock { state in
      guard state.waiting.count + line.utf8.count < Self.capacity else {
        state.dropped += 1
        return
      }
      state.waiting.append(contentsOf: line.utf8)
      state.waiting.append(UInt8(ascii: "\n"))
    }
    unsafe sem_post(work)
  }

  /// Waits until every line is written, for at most `milliseconds`.
  public func flush(within milliseconds: Int) {
    for _ in 0..<milliseconds {
      if state.withLock({ $0.waiting.isEmpty && !$0.isWriting }) { return }
      usleep(1000)
    }
  }

  private func run() {
    while true {
      while unsafe sem_wait(work) != 0 {}
      let (lines, dropped) = state.withLock { state in
        defer {
          state.waiting = []
          state.dropped = 0
          state.isWriting = true
        }
        return (state.waiting, state.dropped)
      }
      var lost = dropped
      let loss = format.line("warning", "lines dropped", [("count", "\(dropped)")]) + "\n"
      if dropped > 0, write(Array(loss.utf8)) == 0 { lost = 0 }
      lost += write(lines)
      state.withLock { state in
        state.dropped += lost
        state.isWriting = false
      }
    }
  }

  /// Returns how many lines could not be written. Blocks while nobody reads the other end.
  private func write(_ bytes: [UInt8]) -> UInt64 {
    var done = 0
    while done < bytes.count {
      let count = unsafe bytes.withUnsafeBytes {
        // SAFETY: `done` lies within the bytes.
        unsafe Glibc.write(
          descriptor, $0.baseAddress.unsafelyUnwrapped + done, bytes.count - done)
      }
      if count > 0 {
        done += count
      } else if count < 0, errno == EINTR {
        continue
      } else if count < 0, errno == EAGAIN {
        // Another process that shares the file has made it non-blocking.
        var wait = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        _ = unsafe poll(&wait, 1, 1000)
      } else {
        return bytes[done...].reduce(0) { $0 + ($1 == UInt8(ascii: "\n") ? 1 : 0) }
      }
    }
    return 0
  }
}

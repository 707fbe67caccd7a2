import ControlPlane
import Glibc

/// A line on standard error that shows the progress of long work. Shows nothing if standard error
/// is no terminal.
struct ProgressBar {
  private let title: String
  private let isShown = isatty(STDERR_FILENO) == 1

  init(_ title: String) { self.title = title }

  func show(_ done: UInt64, _ total: UInt64) {
    // The size of a stream is known only at its end.
    let share =
      total == 0
      ? "\(ByteSize(done))"
      : "\(Int(Double(done) / Double(total) * 100)) %  \(ByteSize(done)) of \(ByteSize(total))"
    put("\r\(title)  \(share)\u{1b}[K")
  }

  func finish() { put("\n") }

  private func put(_ text: String) {
    if isShown { writeToStandardError(text) }
  }
}

func writeToStandardError(_ text: String) {
  _ = unsafe text.utf8CString.withUnsafeBytes {
    unsafe write(STDERR_FILENO, $0.baseAddress, text.utf8.count)
  }
}

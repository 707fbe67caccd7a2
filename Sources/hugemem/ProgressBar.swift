import ControlPlane
import Glibc

/// One line on standard error that shows how far long work is; nothing where that is no terminal.
struct ProgressBar {
  private let title: String
  private let isShown = isatty(STDERR_FILENO) == 1

  init(_ title: String) { self.title = title }

  func show(_ done: UInt64, _ total: UInt64) {
    let percent = total == 0 ? 100 : Int(Double(done) / Double(total) * 100)
    put("\r\(title)  \(percent) %  \(ByteSize(done)) of \(ByteSize(total))\u{1b}[K")
  }

  func finish() { put("\n") }

  private func put(_ text: String) {
    guard isShown else { return }
    _ = unsafe text.utf8CString.withUnsafeBytes {
      unsafe write(STDERR_FILENO, $0.baseAddress, text.utf8.count)
    }
  }
}

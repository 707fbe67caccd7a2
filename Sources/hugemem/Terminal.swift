import Glibc
import Synchronization

/// Uses the terminal on standard output as a full screen, with keys that need no Return. However
/// the program ends, it restores the terminal.
///
/// Ctrl-Z is off.
final class Terminal: Sendable {
  /// Whether frames are still drawn. Drawing holds the lock, so that no frame comes after the end.
  private let isOpen = Mutex(true)
  private let before: termios
  private let hasKeys: Bool

  /// Nil if standard output is no terminal. Call this before the program starts a thread.
  init?() {
    guard isatty(STDOUT_FILENO) == 1 else { return nil }
    var modes = termios()
    hasKeys = unsafe isatty(STDIN_FILENO) == 1 && tcgetattr(STDIN_FILENO, &modes) == 0
    before = modes
    Signals.take([SIGINT, SIGTERM, SIGHUP, SIGQUIT]) { [self] signal in
      close(TCSAFLUSH)
      // Ctrl-C is the usual way to quit such a program, so it is no failure.
      _exit(signal == SIGINT ? 0 : 128 + signal)
    }
    if hasKeys {
      modes.c_lflag &= ~tcflag_t(ICANON | ECHO)
      // With a flush after Ctrl-C, the kernel could see the restored ECHO, and show "^C".
      modes.c_lflag |= tcflag_t(NOFLSH)
      modes.c_cc.10 = 0  // VSUSP
      unsafe tcsetattr(STDIN_FILENO, TCSANOW, &modes)
    }
    // Switch to the alternate screen and hide the cursor.
    put("\u{1b}[?1049h\u{1b}[?25l")
  }

  /// The columns and rows of the window now. The size may change at any time.
  var size: (width: Int, height: Int) {
    var window = winsize()
    guard unsafe ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &window) == 0, window.ws_col > 0 else {
      return (80, 24)
    }
    return (Int(window.ws_col), Int(window.ws_row))
  }

  /// Replaces what is shown. It overwrites each line and then clears the rest, so nothing flickers.
  func draw(_ lines: [String]) {
    isOpen.withLock { isOpen in
      guard isOpen else { return }
      put("\u{1b}[H" + lines.joined(separator: "\u{1b}[K\r\n") + "\u{1b}[K\u{1b}[J")
    }
  }

  /// The next key, or nil after `seconds` without one.
  func key(within seconds: Double) -> Character? {
    let milliseconds = Int32(max(0, min(seconds, 3600) * 1000))
    var descriptor = pollfd(fd: hasKeys ? STDIN_FILENO : -1, events: Int16(POLLIN), revents: 0)
    guard unsafe poll(&descriptor, 1, milliseconds) > 0 else { return nil }
    var byte: UInt8 = 0
    // At the end of the input the terminal is gone, so quit.
    guard unsafe read(STDIN_FILENO, &byte, 1) == 1 else { return "q" }
    return Character(Unicode.Scalar(byte))
  }

  /// Restores the terminal. A second call does nothing. After a signal, what was typed is discarded.
  func close(_ action: Int32 = TCSANOW) {
    isOpen.withLock { isOpen in
      guard isOpen else { return }
      isOpen = false
      put("\u{1b}[?25h\u{1b}[?1049l")
      var modes = before
      if hasKeys { unsafe tcsetattr(STDIN_FILENO, action, &modes) }
    }
  }

  private func put(_ text: String) {
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
      let count = unsafe bytes.withUnsafeBytes {
        unsafe write(STDOUT_FILENO, $0.baseAddress, $0.count)
      }
      guard count > 0 else { return }
      bytes.removeFirst(count)
    }
  }
}

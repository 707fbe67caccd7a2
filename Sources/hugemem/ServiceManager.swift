import MemoryFiles
import Primitives

/// Tells systemd, or another service manager, how far the server is: `sd_notify(3)`. Without a manager
/// that asked for it (`NOTIFY_SOCKET`), does nothing.
enum ServiceManager {
  /// The server takes clients.
  static func ready(_ status: String) { NotifySocket.send("READY=1\nSTATUS=\(status)") }

  /// Files are loaded again. Call `ready` afterwards.
  static func reloading() {
    NotifySocket.send("RELOADING=1\nMONOTONIC_USEC=\(monotonicTime() / 1000)")
  }

  static func stopping() { NotifySocket.send("STOPPING=1") }
}

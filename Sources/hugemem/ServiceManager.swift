import Glibc
import Primitives

/// Tells systemd, or another service manager, how far the server is: `sd_notify(3)`. Without a manager
/// that asked for it (`NOTIFY_SOCKET`), does nothing.
enum ServiceManager {
  /// The server takes clients.
  static func ready(_ status: String) { notify("READY=1\nSTATUS=\(status)") }

  /// Files are loaded again. Call `ready` afterwards.
  static func reloading() {
    notify("RELOADING=1\nMONOTONIC_USEC=\(monotonicTime() / 1000)")
  }

  static func stopping() { notify("STOPPING=1") }

  private static func notify(_ message: String) {
    guard let path = unsafe getenv("NOTIFY_SOCKET").map({ unsafe String(cString: $0) }) else {
      return
    }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    var bytes = Array(path.utf8)
    let room = MemoryLayout.size(ofValue: address.sun_path)
    // An @ stands for the zero byte of an abstract address.
    guard let first = bytes.first, first == UInt8(ascii: "/") || first == UInt8(ascii: "@"),
      bytes.count < room
    else { return }
    if first == UInt8(ascii: "@") { bytes[0] = 0 }
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: bytes) }
    let socket = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard socket >= 0 else { return }
    defer { close(socket) }
    let length = socklen_t(MemoryLayout<sa_family_t>.size + bytes.count)
    _ = unsafe withUnsafePointer(to: &address) { address in
      unsafe address.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
        unsafe sendto(socket, message, message.utf8.count, Int32(MSG_NOSIGNAL), address, length)
      }
    }
  }
}

import CLinux
import Glibc

/// The socket at which systemd, or another service manager, hears how far a service is: `sd_notify(3)`.
public enum NotifySocket {
  /// Sends a message, with a descriptor if it is not -1. Returns whether a manager took it; without one that
  /// asked for it (`NOTIFY_SOCKET`), does nothing.
  @discardableResult
  public static func send(_ message: String, with descriptor: Int32 = -1) -> Bool {
    guard let path = variable("NOTIFY_SOCKET") else { return false }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    var bytes = Array(path.utf8)
    let room = MemoryLayout.size(ofValue: address.sun_path)
    // An @ stands for the zero byte of an abstract address.
    guard let first = bytes.first, first == UInt8(ascii: "/") || first == UInt8(ascii: "@"),
      bytes.count < room
    else { return false }
    if first == UInt8(ascii: "@") { bytes[0] = 0 }
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: bytes) }
    let socket = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard socket >= 0 else { return false }
    defer { close(socket) }
    let length = socklen_t(MemoryLayout<sa_family_t>.size + bytes.count)
    let connected = unsafe withUnsafePointer(to: &address) { address in
      unsafe address.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
        unsafe connect(socket, address, length)
      }
    }
    let text = Array(message.utf8)
    return unsafe connected == 0 && hm_send(socket, text, text.count, descriptor) == text.count
  }

  /// Waits until the manager has worked on all messages before this one: `sd_notify_barrier(3)`. Without that, a
  /// descriptor may still be on its way when this process ends, and a manager drops messages of processes
  /// that are gone. Returns whether it was in time.
  static func flush(milliseconds: Int32) -> Bool {
    var ends: [2 of Int32] = [-1, -1]
    let made = unsafe withUnsafeMutableBytes(of: &ends) {
      unsafe pipe($0.bindMemory(to: Int32.self).baseAddress.unsafelyUnwrapped)
    }
    guard made == 0 else { return false }
    defer { close(ends[0]) }
    for end in [ends[0], ends[1]] { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    // The manager closes its copy when it is there.
    let sent = send("BARRIER=1", with: ends[1])
    close(ends[1])
    var wait = pollfd(fd: ends[0], events: 0, revents: 0)
    return unsafe sent && poll(&wait, 1, milliseconds) == 1 && wait.revents & Int16(POLLHUP) != 0
  }

  static func variable(_ name: String) -> String? {
    unsafe getenv(name).map { unsafe String(cString: $0) }
  }
}

import ControlPlane
import Glibc
import MemoryFiles
import NBDServer

/// Listening sockets that systemd, or another service manager, has opened: `sd_listen_fds(3)`.
struct SocketActivation {
  /// The sockets by name. They stay open when the server ends.
  private var named: [String: [Listener]] = [:]
  /// What the manager has kept of an earlier server's memory. The caller closes it, or hands it on.
  private(set) var memory: [Int32] = []

  /// The names, which `FileDescriptorName=` gives to sockets of a unit. Without one, a socket is for NBD.
  static let names = ["nbd", "control", "http"]

  /// Takes the sockets, so that no child of this process does.
  init() throws {
    defer { for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] { unsafe unsetenv(name) } }
    guard Self.variable("LISTEN_PID").flatMap({ Int32($0) }) == getpid(),
      let count = Self.variable("LISTEN_FDS").flatMap({ Int32($0) }), count > 0
    else { return }
    let given = (Self.variable("LISTEN_FDNAMES") ?? "").split(
      separator: ":", omittingEmptySubsequences: false)
    for index in 0..<Int(count) {
      let name = index < given.count ? String(given[index]) : ""
      guard name != DescriptorStore.name else {
        _ = fcntl(3 + Int32(index), F_SETFD, FD_CLOEXEC)
        memory.append(3 + Int32(index))
        continue
      }
      // systemd's own name for a socket is that of its unit.
      let isOwn = name.isEmpty || name == "unknown" || name.hasSuffix(".socket")
      let use = isOwn ? "nbd" : name
      do throws(SocketError) {
        guard Self.names.contains(use) else {
          throw SocketError("use one of the names \(Self.names.joined(separator: ", "))")
        }
        let listener = try Listener.adopt(3 + Int32(index))
        guard use != "control" || listener.kind == .unix && named[use] == nil else {
          throw SocketError("the control socket must be one Unix socket")
        }
        named[use, default: []].append(listener)
      } catch {
        throw ControlError("LISTEN_FDS: socket \(index + 1) (\(name)): \(error)")
      }
    }
  }

  private static func variable(_ name: String) -> String? {
    unsafe getenv(name).map { unsafe String(cString: $0) }
  }

  /// The sockets of a name.
  func listeners(_ name: String) -> [Listener] { named[name] ?? [] }

  /// The first Unix socket of a name.
  func unix(_ name: String) -> Listener? { named[name]?.first { $0.kind == .unix } }
}

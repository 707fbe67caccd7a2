import ControlPlane
import Glibc
import Logging
import MemoryFiles
import NBDServer
import Primitives

/// Gives what a server has to the process that takes over: the lock of its directory, its memory and its
/// listening sockets, a packet each. Nothing changes until the other process says that it can use them.
/// Then this one ends, in the way that any crash could end it, but for this: requests that have come are
/// answered first.
struct Handover: Sendable {
  let lock: Int32
  let memory: MemoryFile
  let listeners: [Listener]
  let acceptor: Acceptor
  let log: Logger
  let lines: LogQueue

  /// How long requests that have come may take, in milliseconds.
  private static let patience = 20

  /// Takes over the socket.
  func begin(on socket: Int32) throws(ControlError) {
    // systemd would take the end of its process for the end of the service.
    guard unsafe getenv("NOTIFY_SOCKET") == nil else {
      close(socket)
      throw ControlError(
        "a service manager runs this server; restart it there, which keeps the disks and the sockets"
      )
    }
    let thread = WorkerThread { run(on: socket) }
    guard let thread else {
      close(socket)
      throw ControlError("no thread for the takeover")
    }
    thread.detach()
  }

  private func run(on socket: Int32) {
    defer { close(socket) }
    KeeperSocket.setPatience(60, of: socket)
    func give(_ what: TakeoverPacket, _ descriptor: Int32 = -1) -> Bool {
      KeeperSocket.send(what.rawValue, to: socket, with: descriptor)
    }
    guard give(.lock, lock), give(.memory, memory.descriptor),
      listeners.allSatisfy({ give(.listener, $0.descriptor) }), give(.all),
      case .packet(TakeoverPacket.go.rawValue, nil) = KeeperSocket.receive(from: socket)
    else {
      log.notice("a takeover was given up; this server goes on")
      return
    }
    acceptor.handOver(within: Self.patience)
    log.notice("another process has taken over")
    lines.flush(within: 10)
    // The memory is the other process's once this one is gone: the socket ends with it.
    _exit(0)
  }
}

/// What the two processes say to each other.
enum TakeoverPacket: String {
  case lock = "hugemem 1 lock"
  case memory = "hugemem 1 memory"
  case listener = "hugemem 1 listener"
  case all = "hugemem 1 all"
  case go = "hugemem 1 go"
}

import ControlPlane
import DiskDirectory
import Glibc
import HugeMemory
import MemoryFiles
import NBDServer

/// Takes over from the server of a directory. That one serves until `complete`, and goes on if this process
/// ends before.
final class Takeover {
  /// The lock of the directory, which is this process's too from now on.
  let lock: Int32
  let listeners: OpenListeners
  private let session: ServerSession
  private let socket: Int32
  /// What the other server uses, with its lock. It is only looked at before `complete`.
  let memory: MemoryFile

  /// `path` is the name of the memory file; nil if it has none.
  init(from directory: RuntimeDirectory, path: String?) throws {
    var pair: [2 of Int32] = [-1, -1]
    let made = unsafe withUnsafeMutablePointer(to: &pair) {
      unsafe $0.withMemoryRebound(to: Int32.self, capacity: 2) {
        unsafe socketpair(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue | SOCK_CLOEXEC.rawValue), 0, $0)
      }
    }
    guard made == 0 else { throw ControlError("--takeover: no descriptor is left") }
    socket = pair[0]
    do {
      session = try ServerSession(directory)
      try session.takeOver(OpenFile(pair[1]))
    } catch { throw ControlError("--takeover: \(error)") }
    KeeperSocket.setPatience(ServerSession.patience, of: socket)
    var lock: Int32?
    var memory: Int32?
    var open: [Listener] = []
    receiving: while true {
      guard case .packet(let text, let descriptor) = KeeperSocket.receive(from: socket) else {
        throw ControlError("--takeover: the server ended before it had given everything")
      }
      switch (TakeoverPacket(rawValue: text), descriptor) {
      case (.lock, let descriptor?): lock = descriptor
      case (.memory, let descriptor?): memory = descriptor
      case (.listener, let descriptor?): open.append(try Listener.takeOver(descriptor))
      case (.all, _): break receiving
      default: throw ControlError("--takeover: the server is of another version; stop it first")
      }
    }
    guard let lock, let memory else {
      throw ControlError("--takeover: the server is of another version; stop it first")
    }
    (self.lock, listeners) = (lock, OpenListeners(open))
    do { self.memory = try MemoryFile(takenOver: memory, path: path) } catch {
      throw ControlError("--takeover: \(error); the other server goes on")
    }
  }

  /// Makes as much of a machine as possible while the other server still serves. Throws, and leaves that
  /// one as it is, if this one cannot read its memory.
  func prepare(_ options: MachineOptions) throws -> Machine {
    do {
      try DiskDirectory.check(memory.descriptor)
      try memory.grow(to: DiskDirectory.length(capacity: options.capacity))
      return try .prepare(
        DiskDirectory.frames(of: memory.descriptor, canRunOut: memory.canRunOut),
        limit: options.limit, capacity: options.capacity)
    } catch { throw ControlError("--takeover: \(error); the other server goes on") }
  }

  /// The sizes of the other server's disks. Throws if their reserves would not fit into a limit, in bytes.
  func disks(within limit: UInt64) throws -> [String: UInt64] {
    guard case .status(let status) = try session.ask(.stat(name: nil)) else {
      throw ControlError("--takeover: the server is of another version; stop it first")
    }
    guard status.memoryPromised == 0 || status.memoryUsed + status.memoryPromised <= limit else {
      throw ControlError(
        "--takeover: the disks have \(ByteSize(status.memoryUsed)), and \(ByteSize(status.memoryPromised)) more are "
          + "reserved for them; --memory must have room for both")
    }
    // A disk that was renamed meanwhile may come twice.
    return Dictionary(status.disks.map { ($0.name, $0.size) }) { $1 }
  }

  /// Lets the other server end, and waits until it has. Its memory is free then.
  func complete() throws {
    // However long its end takes, nobody else can have the memory before.
    KeeperSocket.setPatience(0, of: socket)
    guard KeeperSocket.send(TakeoverPacket.go.rawValue, to: socket) else {
      throw ControlError("--takeover: the server ended before it had given everything")
    }
    // The socket ends with the last thread of the process.
    while case .packet = KeeperSocket.receive(from: socket) {}
    close(socket)
    listeners.closeRest()
  }
}

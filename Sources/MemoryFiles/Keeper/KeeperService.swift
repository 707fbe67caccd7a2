import CLinux
import Glibc
import Primitives

/// The work of a keeper: it has the memory file open while no server does, and hands it over. It has one
/// thread, keeps nothing about its clients, and does as little as it can, since it must not end.
public struct KeeperService: ~Copyable {
  private let file: Int32
  private let listener: Int32
  private let path: String
  private let since = time(nil)
  private var clients: [Client] = []

  private struct Client {
    let socket: Int32
    /// Why its request will be refused. It is told in answer to the request: what is closed with a request
    /// in it is reset, and the reason would be lost.
    let refusal: String?
  }
  /// A server has one connection, and so has each command. More are refused, and many more closed
  /// at once.
  static let mostClients = 32
  static let mostRefusals = 16
  /// How often the keeper looks whether its socket still has its name.
  var milliseconds: Int32 = 60_000

  /// The descriptors that a keeper starts with: the file, the listening socket, and the lock, which it just
  /// has open. `directory` is the server's.
  public init(file: Int32 = 3, listener: Int32 = 4, directory: String) throws(MemoryFileError) {
    (self.file, self.listener) = (file, listener)
    path = KeeperSocket.path(in: directory)
    for descriptor in [file, listener] where fcntl(descriptor, F_GETFD) < 0 {
      throw MemoryFileError("a server starts its keeper itself; use `hugemem serve --survive`")
    }
    for ignored in [SIGINT, SIGHUP, SIGPIPE, SIGQUIT] { signal(ignored, SIG_IGN) }
    unsafe hm_name_thread("hugemem-keeper")
    _ = fcntl(listener, F_SETFL, fcntl(listener, F_GETFL) | O_NONBLOCK)
    // So that clients see this process at the other end, not the one that started it.
    listen(listener, 64)
  }

  /// Serves until a client ends it, or until nobody can reach it any more.
  public mutating func run() {
    while true {
      var waits = [pollfd(fd: listener, events: Int16(POLLIN), revents: 0)]
      waits += clients.map { pollfd(fd: $0.socket, events: Int16(POLLIN), revents: 0) }
      let ready = unsafe poll(&waits, nfds_t(waits.count), milliseconds)
      if ready <= 0 {
        // The directory can be removed, as at the end of a session. What nobody can reach must not be kept.
        if ready == 0, clients.isEmpty, !isReachable { return }
        continue
      }
      for wait in waits.dropFirst() where wait.revents != 0 {
        guard serve(wait.fd) else { return }
      }
      if waits[0].revents != 0 { accept() }
    }
  }

  private var isReachable: Bool {
    var status = stat()
    return unsafe lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFSOCK
  }

  private mutating func accept() {
    let client = Glibc.accept(listener, nil, nil)
    guard client >= 0 else {
      // Without descriptors, this would come again at once.
      if errno == EMFILE || errno == ENFILE || errno == ENOMEM { usleep(100_000) }
      return
    }
    // No client can make the keeper wait.
    _ = fcntl(client, F_SETFL, O_NONBLOCK)
    let accepted = clients.count { $0.refusal == nil }
    var refusal: String?
    if !KeeperSocket.isTrusted(client) {
      refusal = "only the user \(geteuid()) and root may ask"
    } else if accepted >= Self.mostClients {
      refusal = "too many connections"
    }
    guard refusal == nil || clients.count - accepted < Self.mostRefusals else {
      close(client)
      return
    }
    clients.append(Client(socket: client, refusal: refusal))
  }

  /// Answers one request. Returns whether the keeper goes on.
  private mutating func serve(_ client: Int32) -> Bool {
    guard case .packet(let text, let descriptor) = KeeperSocket.receive(from: client) else {
      drop(client)
      return true
    }
    // Nobody is asked for one.
    if let descriptor { close(descriptor) }
    var reply = KeeperReply.refused(
      "this keeper does not know the request; it may be of an older version")
    var sent = -1 as Int32
    let refusal = clients.first { $0.socket == client }?.refusal
    if let refusal { reply = .refused(refusal) }
    switch refusal == nil ? KeeperRequest(rawValue: text) : nil {
    case .take: (reply, sent) = (.file(keeper: getpid(), since: since), file)
    case .end:
      // Clients have this description too, and lock their own. With this lock no server can begin.
      if takeFileLock(file) == 0 {
        unsafe unlink(path)
        close(file)
        _ = KeeperSocket.send(KeeperReply.ended.text, to: client)
        return false
      }
      reply = .inUse
    case nil: break
    }
    let isTaken = KeeperSocket.send(reply.text, to: client, with: sent)
    if case .refused = reply { drop(client) } else if !isTaken { drop(client) }
    return true
  }

  private mutating func drop(_ client: Int32) {
    close(client)
    clients.removeAll { $0.socket == client }
  }
}

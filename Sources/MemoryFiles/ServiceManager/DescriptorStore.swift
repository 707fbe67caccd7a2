import Glibc

/// The service manager's store of descriptors, which it gives back at the next start: systemd's
/// `FileDescriptorStoreMax=`. It needs no process of ours, and a manager ends a keeper together with
/// the server.
public enum DescriptorStore {
  /// The name of the memory file, in LISTEN_FDNAMES too.
  public static let name = "hugemem-memory"

  /// Whether the manager has a store. systemd says so since version 254; for an older one, the unit can.
  static var isThere: Bool {
    NotifySocket.variable("NOTIFY_SOCKET") != nil
      && (NotifySocket.variable("FDSTORE").flatMap { Int($0) } ?? 0) > 0
  }

  /// Whether a manager runs this process, but keeps nothing for it.
  static var isMissing: Bool { NotifySocket.variable("NOTIFY_SOCKET") != nil && !isThere }

  /// Gives the manager the file.
  static func keep(_ file: MemoryFile) throws(MemoryFileError) {
    let kept = try file.another()
    defer { close(kept) }
    // Without FDPOLL=0 a manager may drop what it cannot wait for.
    guard NotifySocket.send("FDSTORE=1\nFDNAME=\(name)\nFDPOLL=0", with: kept),
      NotifySocket.flush(milliseconds: 10_000)
    else {
      throw MemoryFileError(
        "the service manager did not take the memory file (FDSTORE) within 10 s; look at NOTIFY_SOCKET and "
          + "at FileDescriptorStoreMax= in the unit")
    }
  }

  /// Makes the manager drop the file.
  static func drop() { NotifySocket.send("FDSTOREREMOVE=1\nFDNAME=\(name)") }
}

import Glibc
public import Logging

/// The memory of a server that outlives it, and what keeps it meanwhile: a keeper process, the service
/// manager, or a file's name.
public final class KeptMemory: Sendable {
  public let file: MemoryFile
  /// Nobody has used the file before.
  public let isNew: Bool
  private let holder: Holder

  private enum Holder: Sendable {
    case keeper(WatchedKeeper)
    case manager
    case name(String)
  }

  /// Gets the memory that was kept, or makes some that will be.
  ///
  /// - Parameters:
  ///   - directory: the server's, in which a keeper listens.
  ///   - path: a file of the user's to use instead, on a tmpfs or on hugetlbfs.
  ///   - room: the most memory that will be used, in bytes.
  ///   - stored: what the service manager has given back, named `DescriptorStore.name`. Taken over.
  public static func obtain(
    in directory: String, path: String? = nil, room: UInt64, stored: [Int32] = [], log: Logger
  ) throws(MemoryFileError) -> KeptMemory {
    try obtain(
      in: directory, path: path, room: room, stored: stored, program: "/proc/self/exe", log: log)
  }

  /// Goes on keeping a file that another server of the directory has handed over.
  public static func goOn(
    with file: MemoryFile, in directory: String, log: Logger
  ) throws(MemoryFileError) -> KeptMemory {
    if case .named(let path) = file.kind { return KeptMemory(file, isNew: false, .name(path)) }
    let program = "/proc/self/exe"
    var connection = try KeeperConnection(to: directory)
    if connection == nil {
      connection = try Keeper.replace(for: file, in: directory, program: program)
    }
    let keeper = try WatchedKeeper(connection!, of: file, in: directory, program: program, log)
    return KeptMemory(file, isNew: false, .keeper(keeper))
  }

  /// Throws what `obtain` would say of the user's file, as far as nothing has to be read or made.
  public static func check(path: String, room: UInt64) throws(MemoryFileError) {
    try MemoryFile.check(path: path, room: room + directoryRoom)
  }

  /// The directory of disks: the first of them, and room for some more.
  private static var directoryRoom: UInt64 { 8 << 20 }

  /// `program` is what keepers are started from: tests name it, since they are another program.
  static func obtain(
    in directory: String, path: String?, room: UInt64, stored: [Int32], program: String, log: Logger
  ) throws(MemoryFileError) -> KeptMemory {
    if let path {
      tellOfLeftovers(in: directory, stored: stored, log: log)
      let (file, isNew) = try MemoryFile.open(path: path, room: room + directoryRoom)
      if file.canRunOut {
        log.warning(
          "others can use up the room of the memory file; writes to new pages would find no memory then",
          metadata: ["file": "\(path)"])
      }
      return KeptMemory(file, isNew: isNew, .name(path))
    }
    if let first = stored.first {
      for other in stored.dropFirst() { Glibc.close(other) }
      return KeptMemory(try MemoryFile(adopting: first), isNew: false, .manager)
    }
    if DescriptorStore.isThere {
      tellOfLeftovers(in: directory, log: log)
      let file = try MemoryFile.make()
      try DescriptorStore.keep(file)
      return KeptMemory(file, isNew: true, .manager)
    }
    if DescriptorStore.isMissing {
      log.warning(
        "the service manager ends the keeper with the server; set FileDescriptorStoreMax=1 in the unit"
      )
    }
    let (connection, file, isNew) = try Keeper.obtain(in: directory, program: program)
    let keeper = try WatchedKeeper(connection, of: file, in: directory, program: program, log)
    return KeptMemory(file, isNew: isNew, .keeper(keeper))
  }

  private init(_ file: MemoryFile, isNew: Bool, _ holder: Holder) {
    (self.file, self.isNew, self.holder) = (file, isNew, holder)
  }

  /// Who keeps the memory, for people.
  public var keeper: String {
    switch holder {
    case .keeper(let keeper):
      switch keeper.process {
      case .success(let process): "a keeper, process \(process)"
      case .failure(let error): "nobody: \(error)"
      }
    case .manager: "the service manager"
    case .name(let path): "the file \(path)"
    }
  }

  /// Lets go of the keeper: if it ends from now on, nobody starts another. The memory stays kept. `file` is
  /// closed, and free for another server, with the last reference to it.
  public func close() {
    if case .keeper(let keeper) = holder { keeper.stop() }
  }

  /// Starts a keeper of new memory, if the directory has none. Returns its process number.
  public static func startKeeper(
    in directory: String
  ) throws(MemoryFileError) -> (process: Int32, isNew: Bool) {
    let (keeper, made) = try Keeper.find(in: directory, program: "/proc/self/exe")
    return (keeper.process, made != nil)
  }

  /// Makes the keeper of a directory drop its memory, and end. Returns its process number, or nil if
  /// there is none. Throws if a server uses the memory.
  public static func endKeeper(in directory: String) throws(MemoryFileError) -> Int32? {
    try KeeperConnection.end(in: directory)
  }

  /// Warns of memory of an earlier server that is still kept, and that this one does not use. Takes over
  /// `stored`.
  public static func tellOfLeftovers(in directory: String, stored: [Int32] = [], log: Logger) {
    for descriptor in stored { Glibc.close(descriptor) }
    if !stored.isEmpty {
      log.warning(
        "the service manager keeps memory of an earlier server, which this one does not use; drop it with `systemctl stop` and `systemctl clean --what=fdstore`"
      )
    }
    guard let connection = try? KeeperConnection(to: directory) else { return }
    log.warning(
      "a keeper has memory of an earlier server, which this one does not use; drop it with `hugemem keeper end`",
      metadata: ["process": "\(connection.process)"])
  }
}

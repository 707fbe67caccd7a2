public import HugeMemory
import NBD

/// Why a request for a disk fails.
public enum DiskError: Error, Equatable, Sendable, CustomStringConvertible {
  case invalidName(String, reason: String)
  case exists(String)
  case notFound(String)
  case inUse(String, connections: Int)
  /// The disk is not a fork, so it has no origin to be reset to.
  case noOrigin(String)
  /// `origin@disk` named a disk that is not a fork of `origin`.
  case otherOrigin(disk: String, origin: String?, wanted: String)
  /// The empty export name means the only disk, but there are none or several.
  /// A negative number means that the client may not know how many.
  case noDefault(disks: Int)
  /// The rules allow the client to use the disk, but not to fork it.
  case mayNotFork(String)
  case tooManyOfClient(String, what: String)
  case tooManyDisks(more: Int, disks: Int, limit: Int)
  /// The memory file has run out before the memory limit, so a disk cannot be recorded.
  case memoryFileIsFull
  case connectForksOff(String)
  case tooManyConnectForks(String, limit: Int)
  /// The memory limit leaves too little for the disk's reserve.
  case cannotReserve(String, reserve: UInt64, limit: UInt64)
  /// A fork would share the memory that the disk has used of its reserve, so the reserve would be
  /// needed again. The memory limit leaves too little for that.
  case cannotFork(String, reserve: UInt64, limit: UInt64)
  /// A disk can grow as far as its tables reach.
  case invalidSize(String, size: UInt64, most: UInt64)
  case invalidDescription(String)
  case wouldShrink(String, from: UInt64, to: UInt64)
  case quotaTooSmall(String, quota: UInt64)
  case reserveOverQuota(String, quota: UInt64, reserve: UInt64)
  /// A part of the checkpoint that the disk comes from cannot be loaded.
  case notLoaded(String, reason: String)
  case memory(MemoryError)
  /// The client is gone or the server is stopping, so nobody waits for the result.
  case cancelled(reason: String)

  public var description: String {
    switch self {
    case .invalidName(let name, let reason):
      "disk name \(quoted(name)): \(reason); use 1 to 255 of A-Z a-z 0-9 . _ - and no leading dot or dash"
    case .exists(let name):
      "disk \(quoted(name)) exists already; choose another name or remove it first"
    case .notFound(let name):
      "no disk is named \(quoted(name)); `hugemem list` shows which there are"
    case .inUse(let name, let connections):
      "disk \(quoted(name)) has \(connections) connected client(s); disconnect them first"
    case .noOrigin(let name):
      "disk \(quoted(name)) is not a fork, so there is nothing to reset it to"
    case .otherOrigin(let disk, let origin, let wanted):
      "disk \(quoted(disk)) is \(origin.map { "a fork of \(quoted($0))" } ?? "no fork"), "
        + "not a fork of \(quoted(wanted)); choose another name after the @, or connect to "
        + "\(quoted(disk)) itself"
    case .mayNotFork(let name):
      "disk \(quoted(name)): the server's rules do not let you fork it"
    case .tooManyOfClient(let client, let what):
      "client \(client): the server's rules allow no more \(what)"
    case .noDefault(let disks) where disks < 0:
      "the empty export name means the only disk, and there is not exactly one; name the one you want"
    case .noDefault(let disks):
      "the empty export name means the only disk, and there are \(disks); name the one you want"
    case .tooManyDisks(let more, let disks, let limit):
      "there are \(disks) disks, and \(more) more would exceed the limit of \(limit); remove some, "
        + "or start the server with a larger --max-disks, which may need a larger --overhead"
    case .memoryFileIsFull:
      "the file system of the memory file is full, so no disk can be added; give it more room, or remove "
        + "what else is there"
    case .connectForksOff(let export):
      "export \(quoted(export)): this server makes no forks by connecting; make one with "
        + "`hugemem fork` and connect to that, or start the server without --no-connect-forks"
    case .tooManyConnectForks(let export, let limit):
      "export \(quoted(export)): there are \(limit) forks made by connecting, and no more are "
        + "allowed; remove some, or start the server with more --max-connect-forks"
    case .invalidSize(let name, let size, let most):
      "disk \(quoted(name)) cannot have \(size) bytes; use 1 to \(most), or create a larger disk"
    case .invalidDescription(let reason):
      "the description \(reason); write one line"
    case .wouldShrink(let name, let from, let to):
      "disk \(quoted(name)) has \(from) bytes, and \(to) would cut off its end; add --shrink if you want "
        + "to lose that"
    case .cannotReserve(let name, let reserve, let limit):
      "disk \(quoted(name)): \(reserve) bytes cannot be kept for it, since too much of "
        + "the memory limit of \(limit) bytes is used or kept for others; reserve less, discard data, or raise the "
        + "limit with `hugemem limit --memory`, or for a start with --memory"
    case .cannotFork(let name, let reserve, let limit):
      "disk \(quoted(name)): a fork shares its memory, so its reserve of \(reserve) bytes "
        + "would be needed again, and too much of the memory limit of \(limit) bytes is used; lower the "
        + "reserve with `hugemem limit \(name) --reserve`, or discard data"
    case .quotaTooSmall(let name, let quota):
      "disk \(quoted(name)): with a quota of \(quota) bytes nothing could be written; use "
        + "4096 or more, or none to lift it"
    case .reserveOverQuota(let name, let quota, let reserve):
      "disk \(quoted(name)): a reserve of \(reserve) bytes is more than its quota of \(quota) bytes "
        + "allows; lower the reserve or raise the quota"
    case .notLoaded(let name, let reason):
      "disk \(quoted(name)): a part of it is not loaded, since \(reason)"
    case .memory(let error): "\(error)"
    case .cancelled(let reason): reason
    }
  }

  /// Quotes a name for a message, cut to 100 bytes. A client may ask for a name of 4,096 bytes. The
  /// names of disks have at most 255, and their first 100 tell which disk is meant.
  private func quoted(_ name: String) -> String { "\"\(name.cut(toBytes: 100))\"" }
}

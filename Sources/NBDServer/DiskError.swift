public import HugeMemory
import NBD

/// What can be wrong with a request for a disk.
public enum DiskError: Error, Equatable, Sendable, CustomStringConvertible {
  case invalidName(String, reason: String)
  case exists(String)
  case notFound(String)
  case inUse(String, connections: Int)
  /// Only a fork has an origin to be reset to.
  case noOrigin(String)
  /// `origin@disk` named a disk that is not a fork of `origin`.
  case otherOrigin(disk: String, origin: String?, wanted: String)
  /// The empty export name means the only disk, and there is not exactly one.
  case noDefault(disks: Int)
  case tooManyDisks(more: Int, disks: Int, limit: Int)
  case connectForksOff(String)
  case tooManyConnectForks(String, limit: Int)
  /// So many bytes cannot be kept for the disk.
  case cannotReserve(String, reserve: UInt64, limit: UInt64)
  /// The disk's reserve is used, and a fork would share that.
  case cannotFork(String, reserve: UInt64, limit: UInt64)
  case quotaTooSmall(String, quota: UInt64)
  case reserveOverQuota(String, quota: UInt64, reserve: UInt64)
  case memory(MemoryError)
  /// Nobody waits for the result any more.
  case cancelled(reason: String)

  public var description: String {
    switch self {
    case .invalidName(let name, let reason):
      "disk name \(quoted(name)): \(reason); use 1 to 255 of A-Z a-z 0-9 . _ - and no leading dot"
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
    case .noDefault(let disks):
      "the empty export name means the only disk, and there are \(disks); name the one you want"
    case .tooManyDisks(let more, let disks, let limit):
      "there are \(disks) disks, and \(more) more would be over the limit of \(limit); remove some, or "
        + "start the server with more --max-disks, for which it needs more --overhead"
    case .connectForksOff(let export):
      "export \(quoted(export)): this server makes no forks by connecting; make one with "
        + "`hugemem fork` and connect to that, or start the server without --no-connect-forks"
    case .tooManyConnectForks(let export, let limit):
      "export \(quoted(export)): there are \(limit) forks made by connecting, and no more are "
        + "allowed; remove some, or start the server with more --max-connect-forks"
    case .cannotReserve(let name, let reserve, let limit):
      "disk \(quoted(name)): \(reserve) bytes cannot be kept for it, since too much of "
        + "the memory limit of \(limit) bytes is used or kept for others; reserve less, discard data, or raise the "
        + "limit with `hugemem limit --memory`"
    case .cannotFork(let name, let reserve, let limit):
      "disk \(quoted(name)): a fork shares what it has, so its reserve of \(reserve) bytes "
        + "would be needed again, and too much of the memory limit of \(limit) bytes is used; lower the "
        + "reserve with `hugemem limit \(name) --reserve`, or discard data"
    case .quotaTooSmall(let name, let quota):
      "disk \(quoted(name)): with a quota of \(quota) bytes nothing could be written; use "
        + "4096 or more, or none to lift it"
    case .reserveOverQuota(let name, let quota, let reserve):
      "disk \(quoted(name)): a reserve of \(reserve) bytes is more than its quota of \(quota) bytes "
        + "allows; lower the one or raise the other"
    case .memory(let error): "\(error)"
    case .cancelled(let reason): reason
    }
  }

  /// A name for a message. A client may ask for one of 4,096 bytes; those of disks have at most 255,
  /// and the first of them tell which is meant.
  private func quoted(_ name: String) -> String { "\"\(name.cut(toBytes: 100))\"" }
}

public import HugeMemory

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
  case memory(MemoryError)

  public var description: String {
    switch self {
    case .invalidName(let name, let reason):
      "disk name \"\(name)\": \(reason); use 1 to 255 of A-Z a-z 0-9 . _ - and no leading dot"
    case .exists(let name):
      "disk \"\(name)\" exists already; choose another name or remove it first"
    case .notFound(let name):
      "no disk is named \"\(name)\"; `hugemem list` shows which there are"
    case .inUse(let name, let connections):
      "disk \"\(name)\" has \(connections) connected client(s); disconnect them first"
    case .noOrigin(let name):
      "disk \"\(name)\" is not a fork, so there is nothing to reset it to"
    case .otherOrigin(let disk, let origin, let wanted):
      "disk \"\(disk)\" is \(origin.map { "a fork of \"\($0)\"" } ?? "no fork"), not a fork of "
        + "\"\(wanted)\"; choose another name after the @, or connect to \"\(disk)\" itself"
    case .noDefault(let disks):
      "the empty export name means the only disk, and there are \(disks); name the one you want"
    case .memory(let error): "\(error)"
    }
  }
}

public import NBDServer

/// A request of the command line to a server: one line of JSON on the control socket.
///
/// A field that was added to a case later is optional. Decoding ignores the default values of
/// payloads, and clients that are older than the field do not send it.
public enum ControlRequest: Codable, Sendable, Equatable {
  case create(
    name: String, size: UInt64, limits: DiskLimits? = nil, options: DiskOptions? = nil)
  /// An open file, from which the server reads, comes with the line. `path` is then its name for
  /// messages. Older clients send only an absolute path, which the server opens. `size` is the
  /// disk's size, if that is not the image's.
  case importFile(
    name: String, path: String, limits: DiskLimits? = nil, size: UInt64? = nil,
    options: DiskOptions? = nil)
  /// The same for a file that the server writes to.
  case exportFile(name: String, path: String)
  /// Writes what differs from the origin to the file that comes with the line. The answer has
  /// `changes` before it is done.
  case exportChanges(name: String, path: String)
  /// Changed ranges for a later `importChanges` on this connection.
  case changes([ChangedRange])
  /// Forks `origin`, and changes the fork as the ranges say, with the bytes in the file that comes with
  /// the line.
  case importChanges(
    name: String, path: String, origin: String, size: UInt64, originSize: UInt64,
    limits: DiskLimits? = nil, options: DiskOptions? = nil)
  /// Makes a read-only view of a disk, which lasts as long as this connection.
  case holdView(name: String)
  /// Makes an empty disk, which lasts as long as this connection, or until it is published.
  case holdEmpty(size: UInt64, limits: DiskLimits? = nil)
  case publish(export: String, name: String, options: DiskOptions? = nil)
  case fork(
    source: String, names: [String], limits: DiskLimits? = nil, options: DiskOptions? = nil)
  case reset(name: String)
  case rename(name: String, to: String)
  case set(name: String, options: DiskOptions)
  /// Changes a disk's size, in bytes. Without `shrinks`, the disk may only grow.
  case resize(name: String, size: UInt64, shrinks: Bool)
  case remove(names: [String])
  case list
  case stat(name: String?)
  /// Runs the shrinkers, and gives back all memory that can be given back now.
  case shrink
  /// Changes a disk's limits, both or none. The answer is the disk.
  case limit(name: String, quota: LimitChange? = nil, reserve: LimitChange? = nil)
  /// Changes the memory limit, in bytes. Nil only asks for it.
  case limitMemory(bytes: UInt64?)
  /// Sets knobs, all or none. The answer is all knobs of the server.
  case tune([KnobValue])
}

/// A knob, with its kernel name, and its value.
public struct KnobValue: Codable, Sendable, Equatable {
  public var name: String
  public var value: String
  public init(name: String, value: String) {
    self.name = name
    self.value = value
  }
}

/// The server's answer: any number of `progress` and `changes` lines, then one of the others.
public enum ControlResponse: Codable, Sendable, Equatable {
  /// In bytes. A total of 0 means that it is unknown.
  case progress(done: UInt64, total: UInt64)
  case changes([ChangedRange])
  /// The name and size of a disk that lasts as long as the connection.
  case held(export: String, size: UInt64)
  case done
  case disks([DiskStatus])
  case status(ServerStatus)
  case freed(bytes: UInt64)
  case knobs([KnobValue])
  case memory(MemoryStatus)
  case failure(message: String)
}

/// One disk; all sizes in bytes.
public struct DiskStatus: Codable, Sendable, Equatable {
  public var name: String
  public var size: UInt64
  /// Memory with data that the disk can see. Other disks see `shared` of it as well.
  public var data: UInt64
  public var shared: UInt64
  /// `huge` is the part of `data` that is mapped in 2 MiB; `zero` is what was read but never
  /// written.
  public var huge: UInt64
  public var zero: UInt64
  /// The data and tables that removing the disk would free.
  public var own: UInt64
  /// The disk's limits, if it has any, and the memory that counts for them.
  public var quota: UInt64?
  public var reserve: UInt64?
  public var charge: UInt64?
  public var origin: String?
  /// Whether the origin is still there. Nil if there is none, or from an older server.
  public var hasOrigin: Bool?
  /// The size of the origin when this disk was forked, in bytes.
  public var originSize: UInt64?
  public var isReadOnly: Bool?
  /// Nil if nobody described the disk.
  public var description: String?
  public var connections: Int
  /// The bytes that clients have read and written so far.
  public var bytesRead: UInt64
  public var bytesWritten: UInt64
  public var uri: String
}

/// The state of the server, and of the disks that the request named.
public struct ServerStatus: Codable, Sendable, Equatable {
  public var disks: [DiskStatus]
  /// In bytes. `memoryUsed` is the frames in use for data, tables and the zero page;
  /// `memoryGivenBack` is what went back to the system so far.
  public var memoryLimit: UInt64
  public var memoryUsed: UInt64
  /// Memory kept for disks with a reserve that they have not used yet.
  public var memoryPromised: UInt64 = 0
  public var memoryGivenBack: UInt64
  /// `memoryUsed`, divided by use.
  public var memoryByKind: [Kind]
  /// The server's resident memory as the system counts it, in bytes. It includes free memory that
  /// is not given back yet, and the program itself.
  public var residentMemory: UInt64
  /// The level of memory pressure: `normal`, or a level of the pressure monitor.
  public var pressure: String
  /// The file that reports the pressure, and what it reports. Nil if the level is normal.
  public var pressureCause: String?
  /// References to the zero page, with the shrinker's. 0 means that there is no zero page now.
  public var zeroPageReferences: UInt32
  /// Counters with the kernel's names, in the order of `/proc/vmstat`.
  public var counters: [Counter]
  /// What keeps the disks when the server ends; nil if they end with it.
  public var survival: Survival?

  public struct Survival: Codable, Sendable, Equatable {
    /// Who has the memory open: a keeper process, the service manager, or a file's name.
    public var keptBy: String
    /// Which kind of memory file it is, and why no better one.
    public var memory: String
    /// The room that the file system has left, in bytes; nil if it cannot run out.
    public var room: UInt64?
    public init(keptBy: String, memory: String, room: UInt64? = nil) {
      (self.keptBy, self.memory, self.room) = (keptBy, memory, room)
    }
  }
  /// Nil if no checkpoint is being loaded.
  public var loading: Loading?

  /// One use of memory, in bytes.
  public struct Kind: Codable, Sendable, Equatable {
    public var name: String
    public var bytes: UInt64
  }

  public struct Counter: Codable, Sendable, Equatable {
    public var name: String
    public var value: UInt64
  }
}

/// A failure with a message for the user. Control characters in it, which may come from a name or a
/// path, are escaped, since the message goes to a terminal.
public struct ControlError: Error, Sendable, CustomStringConvertible {
  public let description: String
  /// The error of a lower layer that it tells of, if there is one.
  package var reason: (any Error)?

  public init(_ description: String, because reason: (any Error)? = nil) {
    self.description = LogText.printable(description)
    self.reason = reason
  }

  /// A failure with several lines.
  public init(lines: [String]) {
    description = lines.map(LogText.printable).joined(separator: "\n")
  }
}

public import NBDServer

/// What the command line asks of a server: one line of JSON on the control socket.
///
/// A field that a case did not always have is optional: decoding ignores the default values of
/// payloads, and clients that were written before the field existed do not send it.
public enum ControlRequest: Codable, Sendable, Equatable {
  case create(name: String, size: UInt64, limits: DiskLimits? = nil)
  /// An open file comes with the line, from which the server reads; `path` is then what messages call it.
  /// Older clients send only an absolute path, which the server opens. `size` is the disk's, if it is not
  /// the image's.
  case importFile(name: String, path: String, limits: DiskLimits? = nil, size: UInt64? = nil)
  /// The same, for a file to write to.
  case exportFile(name: String, path: String)
  case fork(source: String, names: [String], limits: DiskLimits? = nil)
  case reset(name: String)
  case remove(names: [String])
  case list
  case stat(name: String?)
  /// Gives back what can be given back now, and runs the shrinkers.
  case shrink
  /// Changes a disk's limits, both or none; answered by the disk.
  case limit(name: String, quota: LimitChange? = nil, reserve: LimitChange? = nil)
  /// Changes the limit of all memory, in bytes, or only asks for it.
  case limitMemory(bytes: UInt64?)
  /// Sets knobs, all or none; answered by all of them.
  case tune([KnobValue])
}

/// A knob by its kernel name.
public struct KnobValue: Codable, Sendable, Equatable {
  public var name: String
  public var value: String
  public init(name: String, value: String) {
    self.name = name
    self.value = value
  }
}

/// What the server answers: any number of `progress` lines, then one of the others.
public enum ControlResponse: Codable, Sendable, Equatable {
  /// In bytes; a total of 0 is not known.
  case progress(done: UInt64, total: UInt64)
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
  /// Memory with data that the disk can see, of which `shared` is other disks' as well.
  public var data: UInt64
  public var shared: UInt64
  /// The part of `data` that is mapped in 2 MiB, and what was read but never written.
  public var huge: UInt64
  public var zero: UInt64
  /// Data and tables that removing the disk would free.
  public var own: UInt64
  /// Its limits, if it has any, and what counts for them.
  public var quota: UInt64?
  public var reserve: UInt64?
  public var charge: UInt64?
  public var origin: String?
  public var connections: Int
  /// What clients read and wrote so far.
  public var bytesRead: UInt64
  public var bytesWritten: UInt64
  public var uri: String
}

/// The server as a whole, and the disks that were asked for.
public struct ServerStatus: Codable, Sendable, Equatable {
  public var disks: [DiskStatus]
  /// In bytes: the limit; frames in use for data, tables and the zero page; given back so far.
  public var memoryLimit: UInt64
  public var memoryUsed: UInt64
  /// Kept for disks with a reserve that they have not used yet.
  public var memoryPromised: UInt64 = 0
  public var memoryGivenBack: UInt64
  /// `memoryUsed` by what it is used for.
  public var memoryByKind: [Kind]
  /// The server's resident memory as the system counts it, in bytes: what is used, what is free and
  /// not yet given back, and the program itself.
  public var residentMemory: UInt64
  /// How short memory is: `normal`, or the level that the monitor of memory pressure names.
  public var pressure: String
  /// Which file told of it, and how; nil if it is normal.
  public var pressureCause: String?
  /// References on the zero page, the shrinker's included; 0: there is none now.
  public var zeroPageReferences: UInt32
  /// By the kernel's names, in the order of `/proc/vmstat`.
  public var counters: [Counter]

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

/// A failure with a message for the user.
public struct ControlError: Error, Sendable, CustomStringConvertible {
  public var description: String
  public init(_ description: String) { self.description = description }
}

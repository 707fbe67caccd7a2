import ArgumentParser
import ControlPlane
import NBDServer

/// The limits of a disk that is being made.
struct LimitOptions: ParsableArguments {
  @Option(
    help: "The most memory that the disk may take, data and tables. Writes beyond it get ENOSPC.")
  var quota: ByteSize?
  @Option(
    help: "Memory kept for the disk, data and tables. For dense data, add 0.2 % for its tables.")
  var reserve: ByteSize?

  var limits: DiskLimits { DiskLimits(quota: quota?.bytes, reserve: reserve?.bytes) }
}

struct Limit: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show or change the limits of a disk, or the memory limit of the server.",
    discussion: """
      A disk's limits count its CHARGE: the data and tables that it took since it was last forked, \
      and still has. What it shares with forks counts for nobody. A write beyond the quota gets \
      ENOSPC. Up to its reserve a disk can write, whatever the other disks do. A fork has limits \
      of its own. A fork of a disk with a reserve needs that reserve once more. A fork \
      that a client makes by connecting to NAME@FORK shares the quota of NAME.
      """)
  @OptionGroup var server: ServerOptions
  @Argument(help: "The disk. Without it, the command is about the server's memory.")
  var name: String?
  @Option(help: ArgumentHelp("The new quota.", valueName: "size|none"))
  var quota: LimitChange = .keep
  @Option(help: ArgumentHelp("The new reserve.", valueName: "size|none"))
  var reserve: LimitChange = .keep
  @Option(help: "The new memory limit for all disks together.") var memory: ByteSize?
  @Flag(help: "Print JSON; sizes in bytes.") var json = false

  func validate() throws {
    guard name == nil || memory == nil else {
      throw ValidationError("--memory is for all disks together; do not name a disk with it")
    }
    guard name != nil || quota == .keep && reserve == .keep else {
      throw ValidationError("name: say which disk the quota or reserve is for")
    }
  }

  func run() throws {
    guard let name else { return try limitMemory() }
    let answer = try server.ask(.limit(name: name, quota: quota, reserve: reserve))
    guard case .disks(let disks) = answer, let disk = disks.first else { throw unexpected }
    if json { return try printJSON(disk) }
    print(
      """
      quota    \(text(disk.quota))
      reserve  \(text(disk.reserve))
      charge   \(text(disk.charge, without: "not counted without limits"))
      """)
  }

  private func limitMemory() throws {
    let answer = try server.ask(.limitMemory(bytes: memory?.bytes))
    guard case .memory(let status) = answer else { throw unexpected }
    if memory != nil { try noteRoom(for: status.limit) }
    if json { return try printJSON(status) }
    print(
      """
      memory limit  \(ByteSize(status.limit))
      at most       \(ByteSize(status.capacity))
      used          \(ByteSize(status.used))
      promised      \(ByteSize(status.promised))
      """)
  }

  /// Says if the file of the memory can run out before the limit is reached.
  private func noteRoom(for limit: UInt64) throws {
    let memory: MemoryDocument = try server.session().call(.GET, "/memory")
    // What is resident may be in use again without more room.
    guard let room = memory.survival?.room, max(memory.used, memory.resident) + room < limit
    else { return }
    writeToStandardError(
      "note: the file system of the memory file has room for \(ByteSize(room)) more; without room, "
        + "writes to new pages get ENOSPC before this limit is reached\n")
  }

  private func text(_ bytes: UInt64?, without: String = "none") -> String {
    bytes.map { "\(ByteSize($0))" } ?? without
  }
}

extension LimitChange: ExpressibleByArgument {
  public init?(argument: String) {
    if argument == "none" {
      self = .lift
    } else if let size = ByteSize(argument) {
      self = .set(size.bytes)
    } else {
      return nil
    }
  }

  public var defaultValueDescription: String { "as it is" }
}

import ArgumentParser
import ControlPlane
import NBDServer

/// The limits of a disk that is being made.
struct LimitOptions: ParsableArguments {
  @Option(
    help: "The most memory that the disk may take for itself, data and tables; then ENOSPC.")
  var quota: ByteSize?
  @Option(
    help: "Memory kept for the disk, data and tables; add 0.2 % for the tables of dense data.")
  var reserve: ByteSize?

  var limits: DiskLimits { DiskLimits(quota: quota?.bytes, reserve: reserve?.bytes) }
}

struct Limit: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show or change what a disk may take of the memory, or the limit of it all.",
    discussion: """
      A disk's limits count its CHARGE: the data and tables that it took since it was last forked, \
      and still has. What it shares with forks counts for nobody. A write beyond the quota is \
      answered with ENOSPC; up to its reserve a disk can write whatever the others do. A fork has \
      limits of its own, and needs the reserve of a disk that it is made of once more.
      """)
  @OptionGroup var server: ServerOptions
  @Argument(help: "A disk; without, it is about the server's memory.") var name: String?
  @Option(help: ArgumentHelp("A new quota.", valueName: "size|none")) var quota: LimitChange = .keep
  @Option(help: ArgumentHelp("A new reserve.", valueName: "size|none"))
  var reserve: LimitChange = .keep
  @Option(help: "A new limit for all disks together.") var memory: ByteSize?
  @Flag(help: "Print JSON; sizes in bytes.") var json = false

  func validate() throws {
    guard name == nil || memory == nil else {
      throw ValidationError("--memory is for all disks together; name none with it")
    }
    guard name != nil || quota == .keep && reserve == .keep else {
      throw ValidationError("name: a quota or reserve of which disk?")
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
    if json { return try printJSON(status) }
    print(
      """
      memory limit  \(ByteSize(status.limit))
      at the most   \(ByteSize(status.capacity))
      used          \(ByteSize(status.used))
      promised      \(ByteSize(status.promised))
      """)
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

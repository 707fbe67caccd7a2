/// The memory limits that this process is under, from its control group and all above it.
///
/// Works on cgroup v1, v2, and the hybrid of both, and in containers that see only a part. Files are
/// opened once and read at each question, which takes some 20 µs a group; any thread may
/// ask. A process that is moved to another group makes a new value.
///
/// ```swift
/// let group = try? ControlGroup()
/// let budget = group?.available ?? (try MemoryTotals().available)
/// ```
public struct ControlGroup: Sendable {
  public enum Version: Sendable, CustomStringConvertible {
    case v1, v2
    public var description: String { self == .v1 ? "v1" : "v2" }
  }

  /// Which version's hierarchy has the memory controller.
  public let version: Version
  /// The folder of the group that was found: the process's own, or the nearest that can be seen.
  public var directory: String { groups[0].directory }
  /// Files that exist and could not be opened. What they would say is left out.
  public var problems: [PressureError] { groups.flatMap(\.problems) }
  /// The process's own group first, then upwards; never empty.
  let groups: [GroupFiles]

  /// Finds the group. It fails if no memory controller can be seen, and says why.
  public init(in tree: FileTree = .system) throws(PressureError) {
    // Where v1 has the controller, v2 has no memory files, and `/proc` tells which it is.
    do throws(PressureError) {
      let directories = try GroupDirectories.find(.v1, in: tree)
      groups = directories.map { GroupFiles(.v1, $0, in: tree) }
      version = .v1
    } catch {
      guard case .noGroup = error else { throw error }
      groups = try GroupDirectories.find(.v2, in: tree).map { GroupFiles(.v2, $0, in: tree) }
      version = .v2
    }
  }

  /// The smallest limit of all groups, in bytes; nil if there is none. v2 has `memory.high`, above
  /// which a group is slowed down, and `memory.max`, above which it is killed: both count.
  public var limit: UInt64? { groups.compactMap { (try? $0.limit()) ?? nil }.min() }

  /// What the group uses, in bytes, page cache included.
  public var usage: UInt64? { (try? groups[0].usage()) ?? nil }

  /// How much of that is page cache of files, which the kernel drops by itself, in bytes.
  public var reclaimable: UInt64? { (try? groups[0].reclaimable()) ?? nil }

  /// How many bytes more can be used before a limit, be it the group's or one above, stands in the
  /// way; 0 at or over it, and nil if there is no limit: the smallest of limit − (usage −
  /// reclaimable).
  public var available: UInt64? { groups.compactMap { (try? $0.available()) ?? nil }.min() }
}

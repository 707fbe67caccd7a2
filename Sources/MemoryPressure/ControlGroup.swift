/// The memory limits on this process: those of its control group and of all groups above it.
///
/// Works with cgroup v1, v2 and the hybrid of both, and in containers that see only a part of the
/// hierarchy. The files are opened once and read each time you ask, which takes some 20 µs for each
/// group. You may ask on any thread. If the process is moved to another group, make a new value.
///
/// ```swift
/// let group = try? ControlGroup()
/// let budget = group?.available ?? (try MemoryTotals().available)
/// ```
public struct ControlGroup: Sendable {
  /// A version of control groups.
  public enum Version: Sendable, CustomStringConvertible {
    /// A hierarchy for each controller.
    case v1
    /// One hierarchy for all controllers.
    case v2
    public var description: String { self == .v1 ? "v1" : "v2" }
  }

  /// The version whose hierarchy has the memory controller.
  public let version: Version
  /// The directory of the process's own group, or of the nearest group above it that is visible.
  public var directory: String { groups[0].directory }
  /// Why some existing files could not be opened. Their values are left out.
  public var problems: [PressureError] { groups.flatMap(\.problems) }
  /// The process's own group first, then upwards; never empty.
  let groups: [GroupFiles]

  /// Finds the group. Throws an error that gives the reason if no memory controller is visible.
  public init(in tree: FileTree = .system) throws(PressureError) {
    // Only one version has the controller, and `/proc` shows which. If it is v1, v2 has no memory
    // files.
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

  /// The smallest limit of all groups, in bytes; nil if there is none. In v2 both `memory.high`,
  /// above which a group is slowed down, and `memory.max`, above which it is killed, count as
  /// limits.
  public var limit: UInt64? { groups.compactMap { (try? $0.limit()) ?? nil }.min() }

  /// The memory that the group uses, in bytes, including page cache.
  public var usage: UInt64? { (try? groups[0].usage()) ?? nil }

  /// The part of `usage` that is page cache of files, in bytes. The kernel drops it by itself.
  public var reclaimable: UInt64? { (try? groups[0].reclaimable()) ?? nil }

  /// How many more bytes can be used below every limit: the smallest value of
  /// limit − (usage − reclaimable) of the group and those above it. 0 at or over a limit; nil if
  /// there is no limit.
  public var available: UInt64? { groups.compactMap { (try? $0.available()) ?? nil }.min() }
}

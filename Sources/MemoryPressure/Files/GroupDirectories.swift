/// Finds the folders of the process's control group and of those above it.
///
/// `/proc/self/cgroup` names the group, and `/proc/self/mountinfo` where its hierarchy is mounted
/// and which part of it. In a container the name may lie outside that part, or be as the host sees
/// it: then the mount shows the container's own group, and the nearest folder is taken.
enum GroupDirectories {
  /// The group's own folder first, then upwards to where the hierarchy is mounted; never empty.
  static func find(
    _ version: ControlGroup.Version, in tree: FileTree
  ) throws(PressureError) -> [String] {
    let groups = try tree.contents(of: "/proc/self/cgroup").text
    guard let name = name(version, in: groups) else {
      throw .noGroup(version, reason: "\(tree.path("/proc/self/cgroup")) names none")
    }
    // Without the table of mounts, they are where they always are.
    let table = (try? tree.contents(of: "/proc/self/mountinfo").text) ?? ""
    let found = mounts(version, in: table)
    for mount in found.isEmpty ? customary(version) : found {
      let directories = try directories(of: name, in: mount, tree)
      if !directories.isEmpty { return directories }
    }
    throw .noGroup(version, reason: "\(name) is mounted nowhere that can be seen")
  }

  /// A hierarchy, or the part of it below `root`, mounted at `point`.
  struct Mount: Equatable {
    let root: String
    let point: String
  }

  /// The group's name. Lines are `id:controllers:name`; v2's has id 0 and no controllers.
  static func name(_ version: ControlGroup.Version, in groups: String) -> String? {
    for line in groups.split(separator: "\n") {
      let parts = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard parts.count == 3, parts[2].first == "/" else { continue }
      let isWanted =
        switch version {
        case .v1: parts[1].split(separator: ",").contains("memory")
        case .v2: parts[0] == "0" && parts[1].isEmpty
        }
      if isWanted { return String(parts[2]) }
    }
    return nil
  }

  /// `36 35 98:0 /root /point options… - type source options`
  static func mounts(_ version: ControlGroup.Version, in table: String) -> [Mount] {
    table.split(separator: "\n").compactMap { line in
      let fields = line.split(separator: " ")
      guard fields.count > 6, let dash = fields[6...].firstIndex(of: "-"),
        fields.count > dash + 3
      else { return nil }
      let isWanted =
        switch version {
        case .v1:
          fields[dash + 1] == "cgroup" && fields[dash + 3].split(separator: ",").contains("memory")
        case .v2: fields[dash + 1] == "cgroup2"
        }
      return isWanted ? Mount(root: unescape(fields[3]), point: unescape(fields[4])) : nil
    }
  }

  private static func customary(_ version: ControlGroup.Version) -> [Mount] {
    switch version {
    case .v1: [Mount(root: "/", point: "/sys/fs/cgroup/memory")]
    // The second is that of a hybrid, where the first holds v1's hierarchies.
    case .v2:
      [
        Mount(root: "/", point: "/sys/fs/cgroup/unified"),
        Mount(root: "/", point: "/sys/fs/cgroup"),
      ]
    }
  }

  private static func directories(
    of name: String, in mount: Mount, _ tree: FileTree
  ) throws(PressureError) -> [String] {
    var rest = below(mount.root, name) ?? ""
    var directories: [String] = []
    while true {
      // Above a folder that is there, all are.
      let isThere = directories.isEmpty ? try tree.hasFolder(mount.point + rest) : true
      if isThere { directories.append(mount.point + rest) }
      guard let slash = rest.lastIndex(of: "/") else { return directories }
      rest = String(rest[..<slash])
    }
  }

  /// What follows `root` in `name`, with a slash in front unless it is empty; nil if the name lies
  /// elsewhere. A namespace shows groups outside it with `..`, which must not lead out of the mount.
  static func below(_ root: String, _ name: String) -> String? {
    let (root, name) = (root.split(separator: "/"), name.split(separator: "/"))
    guard name.starts(with: root), !name.contains("..") else { return nil }
    return name.dropFirst(root.count).map { "/" + $0 }.joined()
  }

  /// The table writes blanks as `\040`.
  private static func unescape(_ field: Substring) -> String {
    var bytes: [UInt8] = []
    var rest = Array(field.utf8)[...]
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "\\"), rest.count >= 3,
        let code = UInt8(String(decoding: rest.prefix(3), as: UTF8.self), radix: 8)
      {
        bytes.append(code)
        rest = rest.dropFirst(3)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

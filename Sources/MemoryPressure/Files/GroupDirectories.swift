/// Finds the directories of the process's control group and of the groups above it.
///
/// `/proc/self/cgroup` names the group. `/proc/self/mountinfo` says where its hierarchy is mounted,
/// and which part of the hierarchy. In a container the name may be outside that part, or be the
/// host's name for the group. The mount then shows the container's own group, and the nearest
/// directory is used.
enum GroupDirectories {
  /// The group's own directory first, then those above it up to the mount point; never empty.
  static func find(
    _ version: ControlGroup.Version, in tree: FileTree
  ) throws(PressureError) -> [String] {
    let groups = try tree.contents(of: "/proc/self/cgroup").text
    guard let name = name(version, in: groups) else {
      throw .noGroup(version, reason: "\(tree.path("/proc/self/cgroup")) names none")
    }
    // If the table of mounts cannot be read, use the customary mount points.
    let table = (try? tree.contents(of: "/proc/self/mountinfo").text) ?? ""
    let found = mounts(version, in: table)
    for mount in found.isEmpty ? customary(version) : found {
      let directories = try directories(of: name, in: mount, tree)
      if !directories.isEmpty { return directories }
    }
    throw .noGroup(version, reason: "\(name) is mounted nowhere that can be seen")
  }

  /// A mount at `point` of a hierarchy, or of the part of it below `root`.
  struct Mount: Equatable {
    let root: String
    let point: String
  }

  /// The group's name. Lines are `id:controllers:name`. The line of v2 has id 0 and no controllers.
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

  /// The mounts of a hierarchy. Lines are `36 35 98:0 /root /point options… - type source options`.
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
    // A hybrid mounts v2 at the first; the second then holds the hierarchies of v1.
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
      // If a directory exists, so do all above it.
      let isThere = directories.isEmpty ? try tree.hasFolder(mount.point + rest) : true
      if isThere { directories.append(mount.point + rest) }
      guard let slash = rest.lastIndex(of: "/") else { return directories }
      rest = String(rest[..<slash])
    }
  }

  /// The part of `name` after `root`: empty, or with a slash in front. Returns nil if `name` is not
  /// below `root`. A namespace shows groups outside it with `..`, which must not lead out of the
  /// mount.
  static func below(_ root: String, _ name: String) -> String? {
    let (root, name) = (root.split(separator: "/"), name.split(separator: "/"))
    guard name.starts(with: root), !name.contains("..") else { return nil }
    return name.dropFirst(root.count).map { "/" + $0 }.joined()
  }

  /// Decodes a field. The table writes a space as `\040`.
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

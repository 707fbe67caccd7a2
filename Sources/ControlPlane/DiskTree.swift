/// The lineage of disks: forks below the disks that they were forked from.
public struct DiskTree: Sendable {
  /// A row for each disk, after a heading: the name, indented by its depth, its size, its own memory,
  /// its clients, and a remark.
  public private(set) var rows = [["NAME", "SIZE", "OWN", "CLIENTS", ""]]

  /// Deeper disks are not indented further, since a chain of forks may have any length.
  private static let deepest = 20

  public init(_ disks: [DiskStatus]) {
    var forks: [String: [DiskStatus]] = [:]
    var next: [(disk: DiskStatus, depth: Int)] = []
    for disk in disks.reversed() {
      if let origin = disk.origin, disk.hasOrigin != false {
        forks[origin, default: []].append(disk)
      } else {
        next.append((disk, 0))
      }
    }
    // A list of what is still to be shown, since recursion would be as deep as the longest chain.
    while let (disk, depth) = next.popLast() {
      rows.append(Self.row(disk, depth))
      next += (forks.removeValue(forKey: disk.name) ?? []).map { ($0, depth + 1) }
    }
  }

  private static func row(_ disk: DiskStatus, _ depth: Int) -> [String] {
    let indent =
      depth > deepest
      ? String(repeating: "  ", count: deepest) + "… \(depth) "
      : String(repeating: "  ", count: depth)
    var remarks: [String] = []
    if disk.hasOrigin == false { remarks.append("fork of \(disk.origin ?? ""), which is gone") }
    if disk.isReadOnly == true { remarks.append("read-only") }
    if let description = disk.description { remarks.append(description) }
    return [
      indent + disk.name, "\(ByteSize(disk.size))", "\(ByteSize(disk.own))",
      "\(disk.connections)", remarks.joined(separator: "; "),
    ]
  }
}

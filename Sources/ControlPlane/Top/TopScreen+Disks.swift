extension TopScreen {
  /// A table of disks in at most `height` lines. If that is nil, it has all disks.
  func disks(_ disks: [DiskStatus], _ rates: Rates?, width: Int, height: Int?) -> [String] {
    let sorted = disks.sorted { first, second in
      let (a, b) = (key(first, rates), key(second, rates))
      return a == b ? first.name < second.name : a > b
    }
    // The heading takes a line. If not all disks fit, the count of the others takes one too.
    let room = height.map { $0 - 1 } ?? sorted.count
    let shown = room >= sorted.count ? sorted.count : max(0, room - 1)
    var rows = [Self.heading]
    for disk in sorted.prefix(shown) {
      rows.append([
        disk.name, "\(ByteSize(disk.size))", "\(ByteSize(disk.data))", "\(ByteSize(disk.huge))",
        "\(ByteSize(disk.shared))", "\(ByteSize(disk.own))", "\(disk.connections)",
        Self.rate(rates?.read(disk)), Self.rate(rates?.written(disk)),
      ])
    }
    // Shorten long names, so that all figures are visible.
    let figures = Self.heading.indices.dropFirst().reduce(0) { sum, column in
      sum + 2 + (rows.map { $0[column].count }.max() ?? 0)
    }
    let longest = max(Self.shortestName, width - figures)
    for index in rows.indices { rows[index][0] = Self.shortened(rows[index][0], to: longest) }
    var lines = TextTable(rows, rightAligned: 1..<Self.heading.count).lines
    if shown < sorted.count {
      lines.append("and \(sorted.count - shown) more; sorted by \(order.rawValue)")
    }
    return lines
  }

  /// The figure to sort by. It is 0 for all disks if they are sorted by name.
  private func key(_ disk: DiskStatus, _ rates: Rates?) -> UInt64 {
    switch order {
    case .name: 0
    case .data: disk.data
    case .own: disk.own
    case .clients: UInt64(max(0, disk.connections))
    case .read: rates?.read(disk) ?? 0
    case .written: rates?.written(disk) ?? 0
    }
  }

  private static let heading = [
    "NAME", "SIZE", "DATA", "HUGE", "SHARED", "OWN", "CLIENTS", "READ/s", "WRITTEN/s",
  ]
  private static let shortestName = 8

  private static func rate(_ bytes: UInt64?) -> String { bytes.map { "\(ByteSize($0))" } ?? "-" }

  private static func shortened(_ name: String, to length: Int) -> String {
    name.count <= length ? name : String(name.prefix(length - 1)) + "…"
  }
}

/// Makes the frames that `hugemem top` shows. A frame needs two states of a server. It contains no
/// terminal escapes, which the caller adds, so tests need no terminal.
///
/// ```
/// hugemem   2 disks, 3 clients   pressure normal   zero page held by 3, and the shrinker
/// memory    [####################0..............................]  2.52 of 8 GiB
///           # data and tables 2.5 GiB   0 zero page 2 MiB   . free 5.48 GiB
///           resident 2.6 GiB   given back 1.2 GiB
/// faults/s  pgfault 120   cow_page 17   fork 0
/// reclaim/s pgscan 0   pgsteal 0   thp_zero_page_free 0   given back 0 B
///
/// NAME      SIZE  DATA  HUGE  SHARED  OWN  CLIENTS  READ/s  WRITTEN/s
/// ```
public struct TopScreen: Sendable {
  /// The order of disks. All orders but `name` begin with the largest.
  public enum Order: String, Sendable, CaseIterable {
    case name, data, own, clients, read, written

    /// The order after this one. The first follows the last.
    public var next: Order {
      let all = Self.allCases
      return all[((all.firstIndex(of: self) ?? 0) + 1) % all.count]
    }
  }

  public var order: Order

  public init(order: Order = .name) { self.order = order }

  /// Returns the lines of a frame. No line is longer than `width` characters. If `height` is not
  /// nil, there are at most so many lines, and the last one counts the disks that do not fit.
  ///
  /// - Parameters:
  ///   - previous: the status `elapsed` seconds ago. Without it there are no rates yet.
  /// - Complexity: O(disks · log disks).
  public func lines(
    _ status: ServerStatus, previous: ServerStatus?, elapsed: Double, width: Int, height: Int?
  ) -> [String] {
    let rates = Rates(since: previous, seconds: elapsed)
    var lines = [summary(status)]
    lines += memory(status, width: width)
    lines += activity(status, rates)
    lines.append("")
    let room = height.map { max(0, $0 - lines.count) }
    lines += disks(status.disks, rates, width: width, height: room)
    if let height { lines = Array(lines.prefix(height)) }
    return lines.map { String($0.prefix(max(0, width))) }
  }

  private func summary(_ status: ServerStatus) -> String {
    let clients = status.disks.reduce(0) { $0 + $1.connections }
    return "hugemem".padded(to: Self.label)
      + [
        "\(counted(status.disks.count, "disk")), \(counted(clients, "client"))",
        "pressure \(status.pressure)", "zero page \(status.zeroPage)",
      ].joined(separator: Self.gap)
  }

  private func counted(_ number: Int, _ what: String) -> String {
    "\(number) \(what)\(number == 1 ? "" : "s")"
  }

  /// The column where the text of a line begins, and the gap between two of its parts.
  static let label = 10
  static let gap = "   "
}

extension ServerStatus {
  /// The zero page's state in words.
  public var zeroPage: String {
    zeroPageReferences == 0 ? "none now" : "held by \(zeroPageReferences - 1), and the shrinker"
  }
}

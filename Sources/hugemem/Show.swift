import ArgumentParser
import ControlPlane
import FoundationEssentials

struct List: ParsableCommand {
  static let configuration = CommandConfiguration(abstract: "List the disks.")
  @OptionGroup var server: ServerOptions
  @Flag(help: "Print JSON; sizes in bytes.") var json = false

  func run() throws {
    guard case .disks(let disks) = try server.ask(.list) else { throw unexpected }
    if json { return try printJSON(disks) }
    print(TextTable(disks))
  }
}

struct Stat: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show sizes, memory and counters, of one disk or all.",
    discussion: """
      DATA is the memory with data that a disk can see, SHARED the part of it that other disks \
      see as well, OWN what removing the disk would free. Counters have the names of /proc/vmstat.
      """)
  @OptionGroup var server: ServerOptions
  @Argument var name: String?
  @Flag(help: "Print JSON; sizes in bytes.") var json = false

  func run() throws {
    guard case .status(let status) = try server.ask(.stat(name: name)) else { throw unexpected }
    if json { return try printJSON(status) }
    print(TextTable(status.disks))
    print(
      """

      memory limit      \(ByteSize(status.memoryLimit))
      memory used       \(ByteSize(status.memoryUsed))
      given back        \(ByteSize(status.memoryGivenBack))
      zero page         \(zeroPage(status.zeroPageReferences))

      """)
    for counter in status.counters {
      print(counter.name.padded(to: 28) + String(counter.value))
    }
  }

  private func zeroPage(_ references: UInt32) -> String {
    references == 0 ? "none now" : "held by \(references - 1), and the shrinker"
  }
}

struct Shrink: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Give back all memory that can be, now; the server does so by itself in a second.")
  @OptionGroup var server: ServerOptions

  func run() throws {
    guard case .freed(let bytes) = try server.ask(.shrink) else { throw unexpected }
    print("freed \(ByteSize(bytes))")
  }
}

private let unexpected = ControlError("the server's answer is of another kind than asked for")

func printJSON(_ value: some Encodable) throws {
  let encoder = JSONEncoder()
  encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
  print(String(decoding: try encoder.encode(value), as: UTF8.self))
}

/// Columns, aligned.
struct TextTable: CustomStringConvertible {
  private var rows = [["NAME", "SIZE", "DATA", "SHARED", "OWN", "CLIENTS", "ORIGIN"]]

  init(_ disks: [DiskStatus]) {
    for disk in disks {
      rows.append([
        disk.name, "\(ByteSize(disk.size))", "\(ByteSize(disk.data))",
        "\(ByteSize(disk.shared))", "\(ByteSize(disk.own))", "\(disk.connections)",
        disk.origin ?? "-",
      ])
    }
  }

  var description: String {
    let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    return rows.map { row in
      zip(row, widths).map { $0.padded(to: $1 + 2) }.joined().trimmed()
    }.joined(separator: "\n")
  }
}

extension String {
  func padded(to width: Int) -> String {
    self + String(repeating: " ", count: max(0, width - count))
  }
  fileprivate func trimmed() -> String {
    var text = self
    while text.last == " " { text.removeLast() }
    return text
  }
}

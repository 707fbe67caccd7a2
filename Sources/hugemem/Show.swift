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
      DATA is the memory with data that a disk can see, HUGE the part of it that is mapped in \
      2 MiB, SHARED the part of it that other disks \
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

struct Tune: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show or change how a running server pages.",
    discussion: """
      Knobs have the names and meanings of /sys/kernel/mm/transparent_hugepage; `collapse`, for \
      `enabled`, is ours: nothing is huge when it is written, the background makes it so. Without \
      arguments all are shown.
      """)
  @OptionGroup var server: ServerOptions
  @Argument(help: ArgumentHelp("A knob and its value.", valueName: "name=value"))
  var changes: [String] = []
  @Flag(help: "Print JSON.") var json = false

  func run() throws {
    let changes = try changes.map { text in
      guard let equals = text.firstIndex(of: "=") else {
        throw ControlError("\(text): write it as name=value")
      }
      return KnobValue(
        name: String(text[..<equals]), value: String(text[text.index(after: equals)...]))
    }
    guard case .knobs(let knobs) = try server.ask(.tune(changes)) else { throw unexpected }
    if json { return try printJSON(knobs) }
    for knob in knobs { print(knob.name.padded(to: 34) + knob.value) }
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
  private var rows = [["NAME", "SIZE", "DATA", "HUGE", "SHARED", "OWN", "CLIENTS", "ORIGIN"]]

  init(_ disks: [DiskStatus]) {
    for disk in disks {
      rows.append([
        disk.name, "\(ByteSize(disk.size))", "\(ByteSize(disk.data))",
        "\(ByteSize(disk.huge))", "\(ByteSize(disk.shared))", "\(ByteSize(disk.own))",
        "\(disk.connections)",
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

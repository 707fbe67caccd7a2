import ArgumentParser
import ControlPlane
import FoundationEssentials

struct List: ParsableCommand {
  static let configuration = CommandConfiguration(abstract: "List the disks.")
  @OptionGroup var server: ServerOptions
  @Flag(help: "Show forks below the disks that they were forked from.") var tree = false
  @Flag(help: "Print JSON; sizes in bytes.") var json = false

  func run() throws {
    guard case .disks(let disks) = try server.ask(.list) else { throw unexpected }
    if json { return try printJSON(disks) }
    print(tree ? TextTable(DiskTree(disks).rows) : TextTable(disks))
  }
}

struct Stat: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show sizes, memory and counters of one disk or of all.",
    discussion: """
      DATA is the memory with data that a disk can see. HUGE is the part of it that is mapped in \
      2 MiB, and SHARED the part that other disks see as well. OWN is what removing the disk would \
      free. CHARGE is what counts for the QUOTA and the RESERVE, if a disk has any. "memory used" \
      is the server's own count. "resident" is what the system sees of the process, with the \
      program itself and free memory that is not given back yet. Counters have the names of \
      /proc/vmstat.
      """)
  @OptionGroup var server: ServerOptions
  @Argument var name: String?
  @Flag(help: "Print JSON; sizes in bytes.") var json = false

  func run() throws {
    guard case .status(let status) = try server.ask(.stat(name: name)) else { throw unexpected }
    if json { return try printJSON(status) }
    print(TextTable(status.disks))
    print()
    for (name, value) in lines(status) { print(name.padded(to: 18) + value) }
    print()
    for counter in status.counters {
      print(counter.name.padded(to: 28) + String(counter.value))
    }
  }

  private func lines(_ status: ServerStatus) -> [(String, String)] {
    var lines = [
      ("memory limit", "\(ByteSize(status.memoryLimit))"),
      ("memory used", "\(ByteSize(status.memoryUsed))"),
      ("promised", "\(ByteSize(status.memoryPromised))"),
    ]
    lines += status.memoryByKind.map { ("  \($0.name)", "\(ByteSize($0.bytes))") }
    lines += [
      ("resident", "\(ByteSize(status.residentMemory))"),
      ("given back", "\(ByteSize(status.memoryGivenBack))"),
      ("pressure", status.pressure + (status.pressureCause.map { " (\($0))" } ?? "")),
      ("zero page", status.zeroPage),
    ]
    if let survival = status.survival {
      lines += [("disks kept by", survival.keptBy), ("memory file", survival.memory)]
      if let room = survival.room { lines.append(("room left for it", "\(ByteSize(room))")) }
    }
    if let summary = status.loadingSummary { lines.append(("checkpoint", summary)) }
    return lines
  }
}

struct Tune: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show or change the paging knobs of a running server.",
    discussion: """
      Knobs have the names and meanings of /sys/kernel/mm/transparent_hugepage. The value \
      `collapse` of `enabled` is ours: disks use memory to the page, and the background makes \
      dense data huge. Without arguments, the command shows all knobs.
      """)
  @OptionGroup var server: ServerOptions
  @Argument(help: ArgumentHelp("A knob and its new value.", valueName: "name=value"))
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
    abstract: "Give back all unused memory now. The server does so by itself within a second.")
  @OptionGroup var server: ServerOptions

  func run() throws {
    guard case .freed(let bytes) = try server.ask(.shrink) else { throw unexpected }
    print("freed \(ByteSize(bytes))")
  }
}

let unexpected = ControlError("the server sent an answer of another kind than expected")

func printJSON(_ value: some Encodable) throws {
  let encoder = JSONEncoder()
  encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
  print(String(decoding: try encoder.encode(value), as: UTF8.self))
}

extension TextTable {
  init(_ disks: [DiskStatus]) {
    // Leave out the columns for limits if no disk has any.
    let hasLimits = disks.contains { $0.charge != nil }
    func size(_ bytes: UInt64?) -> String { bytes.map { "\(ByteSize($0))" } ?? "-" }
    var rows = [["NAME", "SIZE", "DATA", "HUGE", "SHARED", "OWN"]]
    if hasLimits { rows[0] += ["CHARGE", "QUOTA", "RESERVE"] }
    let isDescribed = disks.contains { $0.description != nil }
    let isProtected = disks.contains { $0.isReadOnly == true }
    rows[0] += ["CLIENTS"] + (isProtected ? ["ACCESS"] : []) + ["ORIGIN"]
    if isDescribed { rows[0].append("DESCRIPTION") }
    for disk in disks {
      var row = [disk.name, size(disk.size), size(disk.data), size(disk.huge), size(disk.shared)]
      row.append(size(disk.own))
      if hasLimits { row += [size(disk.charge), size(disk.quota), size(disk.reserve)] }
      row.append("\(disk.connections)")
      if isProtected { row.append(disk.isReadOnly == true ? "read" : "write") }
      row.append(disk.origin ?? "-")
      if isDescribed { row.append(disk.description ?? "") }
      rows.append(row)
    }
    self.init(rows)
  }
}

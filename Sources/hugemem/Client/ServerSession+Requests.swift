import ControlPlane
import HugeMemory
import HugememClient
import NBDServer
import NIOHTTP1

// Which call of the API carries out which request.
extension ServerSession {
  private struct Nothing: Decodable {}
  private struct Freed: Decodable { let freed: UInt64 }
  private struct Held: Decodable {
    let export: String
    let size: UInt64
  }

  func carryOut(
    _ request: ControlRequest, _ file: OpenFile?, _ progress: DiskFile.Progress,
    _ changes: ([ChangedRange]) -> Void
  ) throws -> ControlResponse {
    switch request {
    case .create(let name, let size, let limits, let options):
      try disk(
        .POST, "/disks", Fields(("name", name), ("size", size)).adding(limits, options))
    case .fork(let source, let names, let limits, let options):
      let _: DiskList = try call(
        .POST, path(source, "forks"), Fields(("names", names)).adding(limits, options))
    case .reset(let name): try disk(.POST, path(name, "reset"), Fields())
    case .rename(let name, let new): try disk(.POST, path(name, "rename"), Fields(("name", new)))
    case .set(let name, let options):
      try disk(.PATCH, path(name), Fields().adding(nil, options))
    case .resize(let name, let size, let shrinks):
      try disk(.POST, path(name, "resize"), Fields(("size", size), ("shrink", shrinks)))
    case .remove(let names):
      let _: Nothing = try call(.POST, "/remove", Fields(("names", names)))
    case .limit(let name, let quota, let reserve):
      let changed: DiskDocument = try call(
        .PATCH, path(name, "limit"),
        Fields(("quota", Self.encoded(quota)), ("reserve", Self.encoded(reserve))))
      return .disks([DiskStatus(changed)])

    case .list: return .disks(try disks())
    case .stat(let name):
      let disks = try name.map { [DiskStatus(try call(.GET, path($0)))] } ?? disks()
      return .status(ServerStatus(try call(.GET, "/memory"), disks: disks))
    case .shrink:
      let answer: Freed = try call(.POST, "/memory/shrink")
      return .freed(bytes: answer.freed)
    case .limitMemory(let bytes):
      let memory: MemoryDocument =
        try bytes.map { try call(.PATCH, "/memory", Fields(("limit", $0))) }
        ?? call(.GET, "/memory")
      return .memory(MemoryStatus(memory))
    case .tune(let changes):
      let body = Dictionary(changes.map { ($0.name, $0.value) }) { $1 }
      let knobs: [String: String] =
        changes.isEmpty ? try call(.GET, "/knobs") : try call(.PATCH, "/knobs", body)
      let known = Knob.allCases.map(\.rawValue)
      return .knobs(
        (known + knobs.keys.filter { !known.contains($0) }.sorted()).compactMap { name in
          knobs[name].map { KnobValue(name: name, value: $0) }
        })

    case .importFile(let name, let path, let limits, let size, let options):
      let _: DiskDocument = try work(
        self.path(name, "import"),
        Fields(("path", path), ("size", size)).adding(limits, options), file, progress, changes)
    case .exportFile(let name, let path):
      let _: DiskDocument = try work(
        self.path(name, "export"), Fields(("path", path)), file, progress, changes)
    case .exportChanges(let name, let path):
      let disk: DiskDocument = try work(
        self.path(name, "export"), Fields(("path", path), ("changes", true)), file, progress,
        changes)
      return .disks([DiskStatus(disk)])
    case .changes(let ranges):
      let _: Nothing = try call(.POST, "/ranges", Fields(("ranges", ranges)))
    case .importChanges(
      let name, let path, let origin, let size, let originSize, let limits, let options):
      let _: DiskDocument = try work(
        self.path(name, "import"),
        Fields(("path", path), ("onto", origin), ("size", size), ("originSize", originSize))
          .adding(limits, options), file, progress, changes)
    case .holdView(let name):
      let held: Held = try call(.POST, path(name, "view"))
      return .held(export: held.export, size: held.size)
    case .holdEmpty(let size, let limits):
      let held: Held = try call(.POST, "/held", Fields(("size", size)).adding(limits, nil))
      return .held(export: held.export, size: held.size)
    case .publish(let export, let name, let options):
      try disk(.POST, "/held/\(export)/publish", Fields(("name", name)).adding(nil, options))
    }
    return .done
  }

  /// A call whose answer is a disk, which nobody needs.
  private func disk(_ method: HTTPMethod, _ path: String, _ body: Fields) throws {
    let _: DiskDocument = try call(method, path, body)
  }

  private func path(_ name: String, _ more: String...) -> String {
    (["/disks", HugememServer.escaped(name)] + more).joined(separator: "/")
  }

  private func disks() throws -> [DiskStatus] {
    var found: [DiskStatus] = []
    var after: String? = ""
    while let name = after {
      let list: DiskList = try call(.GET, "/disks?after=\(HugememServer.escaped(name))")
      found += list.disks.map(DiskStatus.init)
      after = list.next
    }
    return found
  }

  /// A null lifts a limit, and an absent field keeps it.
  private static func encoded(_ change: LimitChange?) -> (any Encodable)? {
    switch change {
    case nil, .keep: nil
    case .lift: Optional<UInt64>.none as any Encodable
    case .set(let bytes): bytes
    }
  }
}

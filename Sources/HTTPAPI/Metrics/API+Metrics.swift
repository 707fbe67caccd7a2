import ControlPlane
import Glibc
import NBD
import NBDServer
import NIOHTTP1
import Primitives

extension API {
  /// The metrics, in parts, since there may be many disks. `disks=none` leaves those of single disks
  /// out.
  func metrics(_ call: Route.Call) throws -> Answer {
    let choice = call.request.query["disks"] ?? "all"
    guard choice == "all" || choice == "none" else {
      throw Problem(400, .invalid, "parameter disks: use all or none")
    }
    let accepted = call.request.header("accept") ?? ""
    let isHead = call.request.head.method == .HEAD
    return .stream { connection, request in
      var text = Exposition(isOpenMetrics: accepted.contains("application/openmetrics-text"))
      connection.begin(
        .ok, ["content-type": text.contentType], to: request)
      // Nothing follows, not even the end of a body.
      if isHead { return try connection.flush() }
      addServer(&text)
      addMemory(&text)
      addProcess(&text)
      try connection.sendPart(text.take())
      if choice == "all" {
        let all = disks.list().filter(\.isShown)
        for add in Self.diskFamilies {
          // A disk that is asked for its memory walks its tables, so a part takes as long as that.
          add(&text, all, self)
          if !text.text.isEmpty { try connection.sendPart(text.take()) }
          try call.caller.check()
        }
      }
      if text.isOpenMetrics { try connection.sendPart("# EOF\n") }
      try connection.end()
    }
  }

  private func addServer(_ text: inout Exposition) {
    text.add(Families.build) { $0.add("_info", [("version", Description.version)], "1") }
    text.add(Families.disks) { $0.gauge(UInt64(disks.count)) }
    text.add(Families.disksLimit) { $0.gauge(UInt64(disks.limit)) }
    let sockets = connections()
    text.add(Families.connections) { samples in
      for socket in sockets { samples.gauge([("socket", socket.kind)], UInt64(socket.count)) }
    }
    text.add(Families.connectionsLimit) { samples in
      for socket in sockets { samples.gauge([("socket", socket.kind)], UInt64(socket.limit)) }
    }
  }

  private func addMemory(_ text: inout Exposition) {
    let memory = memory()
    text.add(Families.memoryLimit) { $0.gauge(memory.limit) }
    text.add(Families.memoryUsed) { samples in
      for kind in memory.kinds.sorted(by: { $0.key < $1.key }) {
        samples.gauge([("kind", kind.key == "zeroPage" ? "zero_page" : kind.key)], kind.value)
      }
    }
    text.add(Families.memoryPromised) { $0.gauge(memory.promised) }
    text.add(Families.memoryGivenBack) { $0.counter(memory.givenBack) }
    if let room = memory.survival?.room {
      text.add(Families.memoryFileRoom) { $0.gauge(room) }
    }
    let loading = memory.loading
    text.add(Families.loading) { $0.gauge(UInt64(loading?.left ?? 0) << 21) }
    text.add(Families.loadingFailed) { $0.gauge(UInt64(loading?.failed ?? 0) << 21) }
    let levels = ["normal", "low", "medium", "critical"]
    text.add(Families.pressure) {
      $0.gauge(UInt64(levels.firstIndex(of: memory.pressure.level) ?? 0))
    }
    text.add(Families.gracePeriods) { $0.counter(machine.gracePeriods) }
    text.add(Families.zeroReferences) { $0.gauge(UInt64(memory.zeroPageReferences)) }
    for (family, name) in [
      (Families.zeroAllocations, "thp_zero_page_alloc"),
      (Families.zeroFailures, "thp_zero_page_alloc_failed"),
      (Families.zeroFrees, "thp_zero_page_free"),
      (Families.zeroRevocations, "thp_zero_page_revoke"),
    ] {
      text.add(family) { $0.counter(memory.counters[name] ?? 0) }
    }
    text.add(Families.events) { samples in
      for counter in memory.counters.sorted(by: { $0.key < $1.key })
      where !counter.key.hasPrefix("thp_zero_page_") {
        samples.counter([("event", counter.key)], counter.value)
      }
    }
  }

  /// How many clients there are, and may be.
  private func connections() -> [(kind: String, count: Int, limit: Int)] {
    guard let acceptor else { return [] }
    return ConnectionKind.allCases.map { ("\($0)", acceptor.count($0), acceptor.limit($0)) }
  }
}

extension Exposition.Samples {
  mutating func gauge(_ value: UInt64) { gauge([], value) }
  mutating func counter(_ value: UInt64) { counter([], value) }
}

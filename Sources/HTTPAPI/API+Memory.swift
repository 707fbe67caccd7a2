import ControlPlane
import FoundationEssentials
import HugeMemory
import Primitives

extension API {
  struct ServerDocument: Encodable {
    let version: String
    let uptime: Double
    let directory: String
    let disks: Int
  }

  func server() -> ServerDocument {
    ServerDocument(
      version: Description.version, uptime: uptime, directory: control.directory.path,
      disks: disks.count)
  }

  /// In seconds.
  var uptime: Double { Double((monotonicTime() - started) / 1_000_000) / 1000 }

  /// The server's memory, in bytes.
  struct MemoryDocument: Encodable {
    let limit: UInt64
    let capacity: UInt64
    let used: UInt64
    let promised: UInt64
    let resident: UInt64
    let givenBack: UInt64
    let kinds: [String: UInt64]
    let pressure: Pressure
    let zeroPageReferences: UInt32
    let counters: [String: UInt64]

    struct Pressure: Encodable {
      let level: String
      let cause: String?
    }
  }

  func memory() -> MemoryDocument {
    let status = control.serverStatus([])
    return MemoryDocument(
      limit: status.memoryLimit, capacity: machine.capacity, used: status.memoryUsed,
      promised: status.memoryPromised, resident: status.residentMemory,
      givenBack: status.memoryGivenBack,
      kinds: [String: UInt64](
        uniqueKeysWithValues: status.memoryByKind.map {
          ($0.name == "zero page" ? "zeroPage" : $0.name, $0.bytes)
        }),
      pressure: MemoryDocument.Pressure(level: status.pressure, cause: status.pressureCause),
      zeroPageReferences: status.zeroPageReferences,
      counters: [String: UInt64](uniqueKeysWithValues: status.counters.map { ($0.name, $0.value) }))
  }

  private struct Limit: RequestBody {
    enum CodingKeys: String, CodingKey, CaseIterable { case limit }
    var limit: ByteCount
  }

  func limitMemory(_ call: Route.Call) throws -> Answer {
    let bytes = try call.request.decode(Limit.self).limit.bytes
    do throws(ControlError) { try machine.limitMemory(bytes) } catch {
      throw Problem(422, .invalidSize, error.description)
    }
    return try .json(memory())
  }

  /// Sets knobs, all or none. Returns all of them.
  func knobs(_ changes: [KnobValue]) throws -> [String: String] {
    for change in changes where Knob(rawValue: change.name) == nil {
      let names = Knob.allCases.map(\.rawValue).joined(separator: ", ")
      throw Problem(
        404, .noSuchKnob,
        "there is no knob \"\(LogText.printable(change.name))\"; the knobs: \(names)")
    }
    do {
      return [String: String](
        uniqueKeysWithValues: try control.tune(changes).map { ($0.name, $0.value) })
    } catch let error as ControlError {
      throw Problem(422, .invalid, error.description)
    }
  }

  func tune(_ call: Route.Call) throws -> Answer {
    let bytes = Data(call.request.body.readableBytesView)
    let changes: [String: String]
    do { changes = try JSONDecoder().decode([String: String].self, from: bytes) } catch let error
      as DecodingError
    {
      throw Problem(400, .invalid, "the body: \(error.summary)")
    }
    return try .json(
      knobs(changes.sorted { $0.key < $1.key }.map { KnobValue(name: $0.key, value: $0.value) }))
  }
}

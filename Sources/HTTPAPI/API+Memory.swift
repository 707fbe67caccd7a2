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

  func memory() -> MemoryDocument {
    MemoryDocument(control.serverStatus([]), capacity: machine.capacity)
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
        "there is no knob \(change.name); use one of: \(names)")
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

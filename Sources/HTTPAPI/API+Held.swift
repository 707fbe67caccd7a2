import ControlPlane
import NBDServer

// What lasts as long as its connection: a view of a disk for an export by NBD, an empty disk for an import,
// and the ranges of changes.
extension API {
  private struct HeldDocument: Encodable {
    let export: String
    let size: UInt64
    let uri: String
  }

  private func held(_ response: ControlResponse) throws -> Answer {
    guard case .held(let export, let size) = response else { return .whole(.nothing) }
    return try .json(
      HeldDocument(export: export, size: size, uri: control.directory.uri(export)), .created)
  }

  func view(_ call: Route.Call) throws -> Answer {
    try held(control.perform(.holdView(name: call.name), nil, call.caller, call.held) { _ in })
  }

  private struct Empty: RequestBody {
    enum CodingKeys: String, CodingKey, CaseIterable { case size, quota, reserve }
    var size: ByteCount
    var quota: ByteCount?
    var reserve: ByteCount?
  }

  func hold(_ call: Route.Call) throws -> Answer {
    let body = try call.request.decode(Empty.self)
    let limits = DiskLimits(quota: body.quota?.bytes, reserve: body.reserve?.bytes)
    return try held(
      control.perform(
        .holdEmpty(size: body.size.bytes, limits: limits), nil, call.caller, call.held
      ) { _ in })
  }

  private struct Publication: RequestBody {
    enum CodingKeys: String, CodingKey, CaseIterable { case name, readOnly, description }
    var name: String
    var readOnly: Bool?
    var description: String?
  }

  func publish(_ call: Route.Call) throws -> Answer {
    let body = try call.request.decode(Publication.self)
    do {
      try call.held.publish(
        call.name, as: body.name,
        DiskOptions(isReadOnly: body.readOnly, description: body.description))
    } catch let error as ControlError {
      throw Problem(404, .noSuchDisk, error.description)
    }
    return try .json(disk(body.name), .created)
  }

  private struct Ranges: RequestBody {
    enum CodingKeys: String, CodingKey, CaseIterable { case ranges }
    var ranges: [ChangedRange]
  }

  func addRanges(_ call: Route.Call) throws -> Answer {
    let ranges: [ChangedRange]
    do { ranges = try call.request.decode(Ranges.self).ranges } catch var problem as Problem {
      // A number that is too large is one of a range that cannot be.
      if problem.code == .invalid { problem.status = 422 }
      throw problem
    }
    try call.held.add(ranges)
    return .whole(.nothing)
  }
}

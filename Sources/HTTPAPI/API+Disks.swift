import ControlPlane
import FoundationEssentials
import NBDServer

extension API {
  /// The most disks in one answer.
  static let mostDisks = 1000

  func disk(_ name: String) throws -> DiskDocument {
    DiskDocument(control.status(try disks.lookup(name)))
  }

  func list(_ call: Route.Call) throws -> Answer {
    let limit = try call.number("limit", 1...Self.mostDisks) ?? Self.mostDisks
    let origin = call.request.query["origin"]
    // One more tells whether more follow.
    var found: [Disk] = []
    var after = call.request.query["after"]
    while found.count <= limit {
      let part = disks.list(after: after, count: 256)
      found += part.filter { origin == nil || $0.origin == origin }
      guard part.count == 256 else { break }
      after = part.last?.name
    }
    let more = found.count > limit
    let shown = found.prefix(limit).map { DiskDocument(control.status($0)) }
    return try .json(DiskList(disks: shown, next: more ? shown.last?.name : nil))
  }

  private struct NewDisk: DiskChoices {
    enum CodingKeys: String, CodingKey, CaseIterable {
      case name, size, quota, reserve, readOnly, description
    }
    var name: String?
    var size: ByteCount
    var quota: ByteCount?
    var reserve: ByteCount?
    var readOnly: Bool?
    var description: String?
  }

  /// A POST makes a disk. A PUT makes it unless it is there, with this size.
  func create(_ call: Route.Call) throws -> Answer {
    let body = try call.request.decode(NewDisk.self)
    let named = call.segments["name"]
    guard let name = named ?? body.name else {
      throw Problem(400, .invalid, "the body: \"name\" is missing")
    }
    guard named == nil || body.name == nil else {
      throw Problem(400, .unknownField, "the body: the path has the name already")
    }
    do throws(DiskError) {
      try disks.create(name, size: body.size.bytes, limits: body.limits, options: body.options)
    } catch {
      guard case .exists = error, named != nil else { throw error }
      let existing = try disks.lookup(name)
      guard existing.origin == nil, existing.size == body.size.bytes else {
        throw Problem(
          409, .diskExists,
          "disk \"\(name)\" is there already, with another size or as a fork; remove it first")
      }
      return try .json(disk(name))
    }
    return try .json(disk(name), .created)
  }

  private struct Change: RequestBody {
    enum CodingKeys: String, CodingKey, CaseIterable { case readOnly, description }
    var readOnly: Bool?
    var description: String?
  }

  func change(_ call: Route.Call) throws -> Answer {
    let body = try call.request.decode(Change.self)
    try disks.set(
      call.name, DiskOptions(isReadOnly: body.readOnly, description: body.description))
    return try .json(disk(call.name))
  }

  private struct NewForks: DiskChoices {
    enum CodingKeys: String, CodingKey, CaseIterable {
      case names, quota, reserve, readOnly, description
    }
    var names: [String]?
    var quota: ByteCount?
    var reserve: ByteCount?
    var readOnly: Bool?
    var description: String?
  }

  /// A POST makes all the forks that the body names, or none. A PUT makes one unless it is there.
  func fork(_ call: Route.Call) throws -> Answer {
    let body = try call.request.decode(NewForks.self)
    let one = call.segments["fork"]
    guard let names = one.map({ [$0] }) ?? body.names, !names.isEmpty else {
      throw Problem(400, .invalid, "the body: \"names\" must have at least one name")
    }
    guard one == nil || body.names == nil else {
      throw Problem(400, .unknownField, "the body: the path has the name already")
    }
    do throws(DiskError) {
      try disks.fork(call.name, names: names, limits: body.limits, options: body.options) {
        () throws(DiskError) in
        do { try call.caller.check() } catch { throw .cancelled(reason: "\(error)") }
      }
    } catch {
      guard case .exists(let name) = error, one == name else { throw error }
      let existing = try disks.lookup(name)
      guard existing.origin == call.name else {
        throw DiskError.otherOrigin(disk: name, origin: existing.origin, wanted: call.name)
      }
      return try .json(disk(name))
    }
    if let one { return try .json(disk(one), .created) }
    // A disk may be gone again by now.
    let shown = names.prefix(Self.mostDisks).compactMap { try? disk($0) }
    return try .json(DiskList(disks: shown), .created)
  }

  private struct Limits: RequestBody {
    enum CodingKeys: String, CodingKey, CaseIterable { case quota, reserve }
    let quota: LimitChange
    let reserve: LimitChange

    init(from decoder: any Decoder) throws {
      let fields = try decoder.container(keyedBy: CodingKeys.self)
      quota = try fields.limitChange(.quota)
      reserve = try fields.limitChange(.reserve)
    }
  }

  func limit(_ call: Route.Call) throws -> Answer {
    let body = try call.request.decode(Limits.self)
    try disks.limit(call.name, quota: body.quota, reserve: body.reserve)
    return try .json(disk(call.name))
  }

  private struct Resize: RequestBody {
    enum CodingKeys: String, CodingKey, CaseIterable { case size, shrink }
    var size: ByteCount
    var shrink: Bool?
  }

  func resize(_ call: Route.Call) throws -> Answer {
    let body = try call.request.decode(Resize.self)
    try disks.resize(call.name, to: body.size.bytes, shrinks: body.shrink == true)
    return try .json(disk(call.name))
  }

  private struct NewName: RequestBody {
    enum CodingKeys: String, CodingKey, CaseIterable { case name }
    var name: String
  }

  func rename(_ call: Route.Call) throws -> Answer {
    let body = try call.request.decode(NewName.self)
    try disks.rename(call.name, to: body.name)
    return try .json(disk(body.name))
  }

  private struct Names: RequestBody {
    enum CodingKeys: String, CodingKey, CaseIterable { case names }
    var names: [String]
  }

  func remove(_ call: Route.Call) throws -> Answer {
    try disks.remove(try call.request.decode(Names.self).names)
    return .whole(.nothing)
  }
}

extension Route.Call {
  /// Refuses parameters that the path does not have.
  func allowQuery(_ names: [String]) throws(Problem) {
    for name in request.query.keys.sorted() where !names.contains(name) {
      throw Problem(
        400, .unknownField,
        "there is no parameter \"\(name.prefix(100))\"; "
          + (names.isEmpty ? "there are none" : "there are: \(names.joined(separator: ", "))")
      )
    }
  }

  /// A number in the query, or nil if there is none.
  func number(_ name: String, _ range: ClosedRange<Int>) throws(Problem) -> Int? {
    guard let text = request.query[name] else { return nil }
    guard let number = Int(text), range.contains(number) else {
      throw Problem(
        400, .invalid, "parameter \(name): use \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }
}

import ControlPlane
import FoundationEssentials
import NBDServer
import NIOCore

/// The fields of a request's body. A field that none of them is called is refused by name.
protocol RequestBody: Decodable {
  associatedtype CodingKeys: CodingKey & CaseIterable
}

/// A body that chooses the limits and options of a disk that is being made.
protocol DiskChoices: RequestBody {
  var quota: ByteCount? { get }
  var reserve: ByteCount? { get }
  var readOnly: Bool? { get }
  var description: String? { get }
}

extension DiskChoices {
  var limits: DiskLimits { DiskLimits(quota: quota?.bytes, reserve: reserve?.bytes) }
  var options: DiskOptions { DiskOptions(isReadOnly: readOnly, description: description) }
}

/// For routes that have nothing to say.
struct NoFields: RequestBody {
  enum CodingKeys: CodingKey, CaseIterable {}
}

extension HTTPRequest {
  /// The body, which must be one JSON object. An empty body is an object without fields.
  func decode<Body: RequestBody>(_: Body.Type) throws -> Body {
    let bytes = body.readableBytes == 0 ? Data("{}".utf8) : Data(body.readableBytesView)
    do { return try JSONDecoder().decode(Strict<Body>.self, from: bytes).body } catch let error
      as DecodingError
    {
      throw Problem(400, .invalid, "the body: \(error.summary)")
    }
  }
}

private struct Strict<Body: RequestBody>: Decodable {
  let body: Body

  private struct AnyKey: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }
    init(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
  }

  init(from decoder: any Decoder) throws {
    let known = Body.CodingKeys.allCases.map(\.stringValue)
    for key in try decoder.container(keyedBy: AnyKey.self).allKeys
    where !known.contains(key.stringValue) {
      let fields = known.isEmpty ? "there are none" : known.sorted().joined(separator: ", ")
      throw Problem(
        400, .unknownField,
        "the body: there is no field \"\(key.stringValue.prefix(100))\"; its fields: \(fields)"
      )
    }
    body = try Body(from: decoder)
  }
}

/// A number of bytes in a body: a number, or text such as "10G".
struct ByteCount: Decodable {
  let bytes: UInt64

  init(from decoder: any Decoder) throws {
    let value = try decoder.singleValueContainer()
    if let bytes = try? value.decode(UInt64.self) {
      // As in text.
      guard bytes < 1 << 63 else {
        throw Problem(
          422, .invalidSize, "the body: \(bytes) bytes are too many; use less than 2^63")
      }
      self.bytes = bytes
    } else if let text = try? value.decode(String.self) {
      guard let size = ByteSize(text) else {
        let field = decoder.codingPath.map(\.stringValue).joined(separator: ".")
        throw Problem(
          422, .invalidSize,
          "the body: \(field): \"\(text)\" is no size; write for example \"10G\" or \"512 MiB\""
        )
      }
      bytes = size.bytes
    } else {
      throw DecodingError.dataCorruptedError(
        in: value, debugDescription: "write a number of bytes, or text such as \"10G\"")
    }
  }
}

/// A limit in a body: absent keeps it, null lifts it.
extension KeyedDecodingContainer {
  func limitChange(_ key: Key) throws -> LimitChange {
    guard contains(key) else { return .keep }
    return try decodeIfPresent(ByteCount.self, forKey: key).map { .set($0.bytes) } ?? .lift
  }
}

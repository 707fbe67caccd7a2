import ControlPlane
import FoundationEssentials
import NIOCore
import NIOHTTP1

/// A request as the routes see it.
struct HTTPRequest {
  let head: HTTPRequestHead
  /// The segments of the path, decoded: `/v1/disks/a` has three.
  let path: [String]
  /// Each name at most once; the last one counts.
  let query: [String: String]
  private(set) var body = ByteBuffer()
  /// An open file that came with the request over the Unix socket.
  var file: OpenFile?

  init(_ head: HTTPRequestHead) {
    self.head = head
    // The absolute form names the host as well.
    var target = head.uri[...]
    if let scheme = target.firstRange(of: "://"), !target.hasPrefix("/") {
      let rest = target[scheme.upperBound...]
      target = rest.firstIndex(of: "/").map { rest[$0...] } ?? "/"
    }
    let parts = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
    path = parts[0].split(separator: "/").map { Self.decoded($0) }
    var query: [String: String] = [:]
    for pair in parts.dropFirst().first?.split(separator: "&") ?? [] {
      let sides = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      query[Self.decoded(sides[0])] = sides.count > 1 ? Self.decoded(sides[1]) : ""
    }
    self.query = query
  }

  /// Without the escapes of a URI. Bytes that are no UTF-8 become U+FFFD, which no name has.
  private static func decoded(_ text: Substring) -> String {
    var bytes: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "%"), rest.count >= 2,
        let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
      {
        bytes.append(value)
        rest.removeFirst(2)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// Adds a part of the body. Returns false if that is then longer than `limit` bytes.
  mutating func take(_ bytes: ByteBuffer, limit: Int) -> Bool {
    guard body.readableBytes + bytes.readableBytes <= limit else { return false }
    body.writeImmutableBuffer(bytes)
    return true
  }

  /// Whether more requests may follow on the connection. After one that asks for another protocol, the
  /// parser takes no more.
  var keepsAlive: Bool {
    head.isKeepAlive && !head.headers.contains(name: "upgrade") && head.method != .CONNECT
  }

  func header(_ name: String) -> String? { head.headers.first(name: name) }
}

struct HTTPResponse {
  var status: HTTPResponseStatus
  var headers: [(String, String)]
  var body: ByteBuffer

  init(_ status: HTTPResponseStatus, _ type: String, _ body: ByteBuffer) {
    self.status = status
    headers = [("content-type", type)]
    self.body = body
  }

  static func text(_ text: String, _ type: String) -> Self {
    Self(.ok, type, ByteBuffer(string: text))
  }

  static func json(
    _ value: some Encodable, _ status: HTTPResponseStatus = .ok,
    type: String = "application/json"
  ) throws -> Self {
    Self(status, type, ByteBuffer(bytes: try JSON.encoder.encode(value) + [UInt8(ascii: "\n")]))
  }

  /// Done, and there is nothing to say.
  static var nothing: Self {
    var response = Self(.noContent, "", ByteBuffer())
    response.headers = []
    return response
  }
}

enum JSON {
  static var encoder: JSONEncoder {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return encoder
  }

  /// In one line.
  static func text(_ value: some Encodable) throws -> String {
    String(decoding: try encoder.encode(value), as: UTF8.self)
  }
}

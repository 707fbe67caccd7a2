import CLinux
import ControlPlane
import Glibc
import HTTPCodec
import NBDServer
import NIOCore
import NIOHTTP1
import TLS

/// One HTTP/1.1 connection on a socket, served by its own thread. SwiftNIO's codec parses requests and
/// writes answers; no event loop runs.
final class HTTPConnection {
  /// The most bytes in a request's body.
  static let bodyLimit = 1 << 20
  /// The most bytes in one header field, and in all of them.
  static let headerLimit = 16 << 10

  let socket: Int32
  let tls: TLSSession?
  /// Seconds that a client has to end a request after its first byte, and to take an answer.
  let patience: Int
  private let codec: HTTPCodec
  /// The file that came with the bytes received last.
  private var file: OpenFile?
  private var request: HTTPRequest?

  init(socket: Int32, tls: TLSSession?, patience: Int) {
    (self.socket, self.tls, self.patience) = (socket, tls, patience)
    var limits = NIOHTTPDecoderLimitConfiguration()
    limits.maxHeaderFieldSize = Self.headerLimit
    limits.maxHeaderListSize = Self.headerLimit
    limits.maxHeaderFieldCount = 64
    codec = HTTPCodec(
      ByteToMessageHandler(
        HTTPRequestDecoder(leftOverBytesStrategy: .dropBytes, limitConfiguration: limits)),
      HTTPResponseEncoder())
  }

  /// Returns the next request, or nil at the end of the connection.
  func receive() throws -> HTTPRequest? {
    // An idle client may wait as long as it likes. One that has begun a request must end it in time.
    var deadline = Deadline(seconds: request == nil ? 0 : patience)
    var hasBegun = request != nil
    while true {
      while let part = try codec.next(HTTPServerRequestPart.self) {
        switch part {
        case .head(let head):
          request = HTTPRequest(head)
          if head.headers[canonicalForm: "expect"].contains("100-continue") {
            try send(ByteBuffer(string: "HTTP/1.1 100 Continue\r\n\r\n"))
          }
        case .body(let bytes):
          guard request?.take(bytes, limit: Self.bodyLimit) == true else {
            throw Problem(
              413, .tooLarge, "the body has more than \(Self.bodyLimit) bytes; send less at once")
          }
        case .end:
          defer { request = nil }
          request?.file = file
          file = nil
          return request
        }
      }
      guard tls?.hasMore == true || deadline.wait(for: socket, POLLIN) else {
        throw Problem(408, .timeout, "the request did not end within \(patience) seconds")
      }
      var bytes = ByteBuffer()
      guard try receive(into: &bytes) else { return nil }
      if !hasBegun {
        deadline = Deadline(seconds: patience)
        hasBegun = true
      }
      do { try codec.parse(bytes) } catch HTTPParserError.headerOverflow {
        throw Problem(
          431, .tooLarge, "the header has more than \(Self.headerLimit) bytes, or 64 fields")
      } catch {
        throw Problem(400, .malformed, "this is not HTTP/1.1: \(error)")
      }
    }
  }

  /// Returns false at the end of the connection.
  private func receive(into bytes: inout ByteBuffer) throws -> Bool {
    var (descriptor, descriptors): (Int32, Int32) = (-1, 1)
    let count = unsafe bytes.writeWithUnsafeMutableBytes(minimumWritableBytes: 16 << 10) { room in
      if let tls { return max(0, unsafe tls.receive(room.baseAddress!, room.count)) }
      return max(
        0, unsafe hm_receive(socket, room.baseAddress, room.count, &descriptor, &descriptors))
    }
    if tls == nil, descriptors > 0 { file = OpenFile(descriptor) }
    return count > 0
  }

  /// Sends a whole answer.
  func send(_ response: HTTPResponse, to request: HTTPRequest?) throws {
    let isHead = request?.head.method == .HEAD
    var headers = HTTPHeaders(response.headers)
    headers.replaceOrAdd(name: "content-length", value: "\(response.body.readableBytes)")
    begin(response.status, headers, to: request)
    if !isHead { codec.write(HTTPServerResponsePart.body(.byteBuffer(response.body))) }
    codec.write(HTTPServerResponsePart.end(nil))
    try flush()
  }

  /// Begins an answer that comes in parts. Its length is not known yet.
  func begin(_ status: HTTPResponseStatus, _ headers: HTTPHeaders, to request: HTTPRequest?) {
    var headers = headers
    headers.replaceOrAdd(
      name: "connection", value: request?.keepsAlive == true ? "keep-alive" : "close")
    headers.replaceOrAdd(name: "cache-control", value: "no-store")
    headers.replaceOrAdd(name: "x-content-type-options", value: "nosniff")
    let head = HTTPResponseHead(
      version: request?.head.version ?? .http1_1, status: status, headers: headers)
    codec.write(HTTPServerResponsePart.head(head))
  }

  func sendPart(_ text: String) throws {
    codec.write(HTTPServerResponsePart.body(.byteBuffer(ByteBuffer(string: text))))
    try flush()
  }

  func end() throws {
    codec.write(HTTPServerResponsePart.end(nil))
    try flush()
  }

  func flush() throws { try send(try codec.takeBytes()) }

  private func send(_ bytes: ByteBuffer) throws {
    let sent = unsafe bytes.withUnsafeReadableBytes { bytes in
      guard bytes.count > 0 else { return true }
      guard let tls else {
        return unsafe Socket.send(bytes, to: socket, by: Deadline(seconds: patience))
      }
      return unsafe tls.send(bytes.baseAddress!, bytes.count) && tls.flush()
    }
    guard sent else { throw ClientIsGone() }
  }
}

/// The client has closed the connection, or takes nothing.
struct ClientIsGone: Error {}

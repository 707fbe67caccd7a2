import CLinux
import Glibc
import HTTPCodec
package import NIOCore
package import NIOHTTP1

/// One HTTP connection to the Unix socket of a server. SwiftNIO's codec writes requests and parses
/// answers; no event loop runs.
package final class Connection {
  private let socket: Int32
  private let codec = HTTPCodec(
    ByteToMessageHandler(HTTPResponseDecoder()), HTTPRequestEncoder())

  package init(path: String) throws(ServerUnreachable) {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let room = MemoryLayout.size(ofValue: address.sun_path)
    guard path.utf8.count < room else {
      throw ServerUnreachable("socket path \(path): longer than \(room - 1) bytes")
    }
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path.utf8) }
    socket = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard socket >= 0 else { throw ServerUnreachable("socket: \(Self.reason())") }
    let failed = unsafe withUnsafePointer(to: &address) { address in
      unsafe address.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe connect(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    guard failed == 0 else {
      let reason = Self.reason()
      close(socket)
      throw ServerUnreachable(
        "\(path): \(reason); start a server with `hugemem serve`, or name its directory")
    }
  }

  deinit { close(socket) }

  /// How long a part of an answer may take to come, in seconds; 0 is any time.
  package func setPatience(_ seconds: Int) {
    var limit = timeval(tv_sec: seconds, tv_usec: 0)
    unsafe setsockopt(
      socket, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
  }

  private static func reason() -> String { unsafe String(cString: strerror(errno)) }

  /// Sends a request and waits for the whole answer.
  package func ask(
    _ method: HTTPMethod, _ path: String, _ body: ByteBuffer, file: Int32 = -1
  ) throws -> (Int, ByteBuffer) {
    try send(method, path, body, file: file)
    var status = 0
    var answer = ByteBuffer()
    while true {
      switch try next() {
      case .head(let head): status = Int(head.status.code)
      case .body(let part): answer.writeImmutableBuffer(part)
      case .end: return (status, answer)
      }
    }
  }

  /// An open file can go with the request; the server then shares it.
  package func send(
    _ method: HTTPMethod, _ path: String, _ body: ByteBuffer = ByteBuffer(),
    _ headers: HTTPHeaders = [:], file: Int32 = -1
  ) throws {
    var head = HTTPRequestHead(version: .http1_1, method: method, uri: path, headers: headers)
    head.headers.add(name: "host", value: "localhost")
    head.headers.add(name: "content-length", value: "\(body.readableBytes)")
    codec.write(HTTPClientRequestPart.head(head))
    codec.write(HTTPClientRequestPart.body(.byteBuffer(body)))
    codec.write(HTTPClientRequestPart.end(nil))
    try send(try codec.takeBytes(), file)
  }

  private func send(_ bytes: ByteBuffer, _ file: Int32) throws {
    try unsafe bytes.withUnsafeReadableBytes { bytes in
      var done = 0
      if file >= 0, bytes.count > 0 {
        // The file goes with the first byte.
        guard unsafe hm_send(socket, bytes.baseAddress!, 1, file) == 1 else {
          throw ServerUnreachable("the server has ended: \(Self.reason())")
        }
        done = 1
      }
      while done < bytes.count {
        let count = unsafe Glibc.send(
          socket, bytes.baseAddress! + done, bytes.count - done, Int32(MSG_NOSIGNAL))
        if count > 0 {
          done += count
        } else if errno != EINTR {
          throw ServerUnreachable("the server has ended: \(Self.reason())")
        }
      }
    }
  }

  /// The next part of an answer.
  package func next() throws -> HTTPClientResponsePart {
    while true {
      if let part = try codec.next(HTTPClientResponsePart.self) { return part }
      var bytes = ByteBuffer()
      var isLate = false
      let count = unsafe bytes.writeWithUnsafeMutableBytes(minimumWritableBytes: 16 << 10) { room in
        while true {
          let count = unsafe recv(socket, room.baseAddress, room.count, 0)
          if count < 0, errno == EINTR { continue }
          isLate = count < 0 && errno == EAGAIN
          return max(0, count)
        }
      }
      guard !isLate else { throw ServerIsSilent() }
      guard count > 0 else { throw ServerUnreachable("the server has ended") }
      try codec.parse(bytes)
    }
  }
}

/// The server has not answered for as long as it may take.
package struct ServerIsSilent: Error {}

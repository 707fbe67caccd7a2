import FoundationEssentials
import Glibc

/// Lines of JSON over a socket, both ways.
struct Channel: ~Copyable {
  /// A line longer than this ends the connection. A list of 10,000 disks takes 3 MiB.
  static let lineLimit = 64 << 20

  let socket: Int32
  private var received: [UInt8] = []

  init(socket: Int32) { self.socket = socket }

  func send(_ message: some Encodable) throws(ControlError) {
    var bytes: Data
    do { bytes = try JSONEncoder().encode(message) } catch { throw ControlError("\(error)") }
    bytes.append(UInt8(ascii: "\n"))
    var done = 0
    while done < bytes.count {
      let count = unsafe bytes.withUnsafeBytes { buffer in
        unsafe Glibc.send(
          socket, buffer.baseAddress.unsafelyUnwrapped + done, buffer.count - done,
          Int32(MSG_NOSIGNAL))
      }
      guard count > 0 else { throw ControlError("the other side of the control socket is gone") }
      done += count
    }
  }

  /// The next message, or nil at the end.
  mutating func receive<Message: Decodable>(_: Message.Type) throws(ControlError) -> Message? {
    var searched = 0
    while true {
      if let end = received[searched...].firstIndex(of: UInt8(ascii: "\n")) {
        let line = Data(received[..<end])
        received.removeSubrange(...end)
        do { return try JSONDecoder().decode(Message.self, from: line) } catch {
          throw ControlError("a line on the control socket is not understood: \(error)")
        }
      }
      searched = received.count
      guard received.count < Self.lineLimit else {
        throw ControlError("a line on the control socket is longer than \(Self.lineLimit) bytes")
      }
      var part = [UInt8](repeating: 0, count: 16 << 10)
      let count = unsafe part.withUnsafeMutableBytes { buffer in
        unsafe recv(socket, buffer.baseAddress, buffer.count, 0)
      }
      guard count > 0 else { return nil }
      received.append(contentsOf: part[..<count])
    }
  }
}

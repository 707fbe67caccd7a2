import CLinux
import FoundationEssentials
import Glibc
import NBDServer

/// Lines of JSON over a socket, both ways. A line may bring an open file with it, which the
/// other process then shares.
struct Channel: ~Copyable {
  /// A line longer than these ends the connection: a server keeps clients from filling its
  /// memory, and answers with as many disks as there are.
  static let requestLimit = 1 << 20
  static let responseLimit = 1 << 30

  let socket: Int32
  let lineLimit: Int
  /// Seconds for a line, once its first byte is there, and for the other side to take a message; 0:
  /// as long as it likes.
  let patience: Int
  private var received: [UInt8] = []
  /// How far there is no newline.
  private var searched = 0
  /// The file that came with what was received last.
  private var file: OpenFile?

  init(socket: Int32, lineLimit: Int, patience: Int = 0) {
    self.socket = socket
    self.lineLimit = lineLimit
    self.patience = patience
  }

  /// The file that came with the last message, once.
  mutating func takeFile() -> OpenFile? {
    defer { file = nil }
    return file
  }

  func send(_ message: some Encodable, with file: OpenFile? = nil) throws(ControlError) {
    var bytes: Data
    do { bytes = try JSONEncoder().encode(message) } catch { throw ControlError("\(error)") }
    bytes.append(UInt8(ascii: "\n"))
    let deadline = Deadline(seconds: patience)
    let sent = unsafe bytes.withUnsafeBytes { bytes in
      guard let file else { return unsafe Socket.send(bytes, to: socket, by: deadline) }
      // The file goes with the first byte.
      return unsafe hm_send(socket, bytes.baseAddress, 1, file.descriptor) == 1
        && Socket.send(UnsafeRawBufferPointer(rebasing: bytes[1...]), to: socket, by: deadline)
    }
    guard sent else {
      // A part of the line may be on its way, so nothing can follow it.
      shutdown(socket, Int32(SHUT_RDWR))
      throw ControlError("the other side of the control socket is gone, or does not read")
    }
  }

  /// The next message, or nil at the end.
  mutating func receive<Message: Decodable>(_: Message.Type) throws(ControlError) -> Message? {
    // An idle client may wait as long as it likes; one that has begun a line is to end it.
    var deadline = Deadline(seconds: received.isEmpty ? 0 : patience)
    while true {
      if let end = received[searched...].firstIndex(of: UInt8(ascii: "\n")) {
        let line = Data(received[..<end])
        received.removeSubrange(...end)
        searched = 0
        do { return try JSONDecoder().decode(Message.self, from: line) } catch {
          throw ControlError("a line on the control socket is not understood: \(error)")
        }
      }
      guard received.count < lineLimit else {
        throw ControlError("a line has more than \(lineLimit) bytes; ask for fewer disks at once")
      }
      searched = received.count
      var part = [UInt8](repeating: 0, count: 64 << 10)
      guard deadline.wait(for: socket, POLLIN) else { return nil }
      var (descriptor, descriptors): (Int32, Int32) = (-1, 1)
      let count = unsafe part.withUnsafeMutableBytes { buffer in
        unsafe hm_receive(socket, buffer.baseAddress, buffer.count, &descriptor, &descriptors)
      }
      if descriptors > 0 { file = OpenFile(descriptor) }
      guard count > 0 else { return nil }
      if received.isEmpty { deadline = Deadline(seconds: patience) }
      received.append(contentsOf: part[..<count])
    }
  }
}

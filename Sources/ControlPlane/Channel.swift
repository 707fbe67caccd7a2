import CLinux
import FoundationEssentials
import Glibc
import NBDServer

/// Sends and receives lines of JSON over a socket. An open file can go with a line; the other
/// process then shares it.
struct Channel: ~Copyable {
  /// A longer line ends the connection. A request is short, so that clients cannot fill the
  /// server's memory. A response may list many disks.
  static let requestLimit = 1 << 20
  static let responseLimit = 1 << 30

  let socket: Int32
  let lineLimit: Int
  /// Seconds that the other side has to end a line after its first byte, and to take a message. 0
  /// means no limit.
  let patience: Int
  private var received: [UInt8] = []
  /// The number of received bytes that are known to have no newline.
  private var searched = 0
  /// The file that came with the bytes received last.
  private var file: OpenFile?
  /// The slots that long messages need in the server. Nil in a client.
  private let slots: MessageSlots?
  private var holdsSlot = false

  init(socket: Int32, lineLimit: Int, patience: Int = 0, slots: MessageSlots? = nil) {
    self.socket = socket
    self.lineLimit = lineLimit
    self.patience = patience
    self.slots = slots
  }

  deinit { if holdsSlot { slots?.give() } }

  /// Takes a slot for a long message, until `giveSlot`.
  mutating func takeSlot() throws(ControlError) {
    guard !holdsSlot, let slots else { return }
    try slots.take()
    holdsSlot = true
  }

  mutating func giveSlot() {
    if holdsSlot { slots?.give() }
    holdsSlot = false
  }

  /// Returns the file that came with the last message. A second call returns nil.
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
      // Part of the line may have been sent, so no other line can follow.
      shutdown(socket, Int32(SHUT_RDWR))
      throw ControlError("the other side of the control socket is gone, or does not read")
    }
  }

  /// Returns the next message, or nil at the end of the connection.
  mutating func receive<Message: Decodable>(_: Message.Type) throws(ControlError) -> Message? {
    // An idle client may wait as long as it likes. One that has begun a line must end it in time.
    var deadline = Deadline(seconds: received.isEmpty ? 0 : patience)
    while true {
      if let end = received[searched...].firstIndex(of: UInt8(ascii: "\n")) {
        let line = Data(received[..<end])
        // Copy the rest: an array that is changed in place would keep the room of the longest line.
        received = Array(received[(end + 1)...])
        searched = 0
        do { return try JSONDecoder().decode(Message.self, from: line) } catch {
          let reason = (error as? DecodingError)?.summary ?? "\(error)"
          throw ControlError("a line on the control socket is not understood: \(reason)")
        }
      }
      guard received.count < lineLimit else {
        throw ControlError("a line has more than \(lineLimit) bytes; ask for fewer disks at once")
      }
      if received.count > MessageSlots.small { try takeSlot() }
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

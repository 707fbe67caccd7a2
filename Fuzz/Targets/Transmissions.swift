// Fuzzes a whole transmission: a client sends requests to a disk, and a model says what every reply and
// the disk must be. Byte 0 has the session, byte 1 more of it, bytes 2 and 3 the size. Then 9 bytes are
// one request: command, flags, offset, length, data. The last byte says how much of the end is cut off.
// scripts/fuzz compiles this file into the module NBDServer.
import Glibc
import HugeMemory
import NBD

private let machine = try! Machine(limit: 256 << 20, background: .none)
private let overhead = Overhead(bytes: 64 << 20)

/// Sends the requests and takes the replies on a thread of its own.
private final class Sender: @unchecked Sendable {
  var socket: Int32 = -1
  var requests: [UInt8] = []
  var replies: [UInt8] = []
  private var part = [UInt8](repeating: 0, count: 1 << 18)
  private let begin = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)
  private let done = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)

  init() {
    sem_init(begin, 0, 0)
    sem_init(done, 0, 0)
    var thread = pthread_t()
    pthread_create(
      &thread, nil,
      { client in
        let client = Unmanaged<Sender>.fromOpaque(client!).takeUnretainedValue()
        while true {
          sem_wait(client.begin)
          client.exchange()
          sem_post(client.done)
        }
      }, Unmanaged.passRetained(self).toOpaque())
  }

  func start() { sem_post(begin) }
  func wait() { sem_wait(done) }

  private func exchange() {
    replies.removeAll(keepingCapacity: true)
    var sent = 0
    while true {
      if sent == requests.count { shutdown(socket, Int32(SHUT_WR)) }
      let wanted = Int16(sent < requests.count ? POLLIN | POLLOUT : POLLIN)
      var state = pollfd(fd: socket, events: wanted, revents: 0)
      poll(&state, 1, -1)
      if state.revents & Int16(POLLOUT) != 0, sent < requests.count {
        let count = requests[sent...].withUnsafeBytes {
          send(socket, $0.baseAddress!, $0.count, Int32(MSG_DONTWAIT | MSG_NOSIGNAL))
        }
        // The server has ended the connection. What it sent before is there to be read.
        sent = count > 0 ? sent + count : errno == EAGAIN ? sent : requests.count
      }
      if state.revents & Int16(POLLIN | POLLHUP) != 0 {
        let count = recv(socket, &part, part.count, Int32(MSG_DONTWAIT))
        if count > 0 { replies += part[..<count] } else if count == 0 || errno != EAGAIN { return }
      }
    }
  }
}
private let client = Sender()

/// The bytes of a request on the wire.
private func encode(_ request: Request, extended: Bool, data: ArraySlice<UInt8>) -> [UInt8] {
  var bytes: [UInt8] = []
  func put(_ number: some FixedWidthInteger) {
    withUnsafeBytes(of: number.bigEndian) { bytes += $0 }
  }
  put(extended ? 0x21e4_1c71 : 0x2560_9513 as UInt32)
  put(request.flags.rawValue)
  put(request.type)
  put(request.cookie)
  put(request.offset)
  if extended { put(request.length) } else { put(UInt32(request.length)) }
  return bytes + data
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
  var input = Array(UnsafeBufferPointer(start: start, count: count))[...]
  guard input.count >= 5, let cut = input.popLast() else { return 0 }
  let bits = input.removeFirst(), more = input.removeFirst()
  // Up to 64 KiB, or up to 4 MiB, which has huge frames.
  let size = UInt64(input.takeNumber()! as UInt16) << (more & 4 != 0 ? 6 : 0) &+ 1
  let extended = bits & 1 != 0
  let structured = extended || bits & 2 != 0
  let session = Session(
    structured: structured, extended: extended,
    contexts: structured ? MetaContexts(rawValue: UInt32(bits >> 2 & 7) << 1) : [])
  let access = AccessControl(.standard(user: getuid()))

  // The disk: empty, or a fork of one with data.
  var space = try! machine.makeDiskSpace(size: size)
  var origin: [UInt8] = []
  var options = DiskOptions()
  options.isReadOnly = bits & 0xE0 == 0xE0
  var from: (disk: DiskSettings, contents: AddressSpace)?
  if more & 1 != 0 {
    origin = [UInt8](pattern.prefix(Int(size)))
    origin.withUnsafeBytes { try! space.write(at: 0, from: $0) }
    let snapshot = space
    space = try! snapshot.fork()
    from = (DiskSettings(name: "origin", size: size, DiskOptions()), snapshot)
  }
  let disk = Disk("disk", space, size: size, options, origin: from, quota: DiskQuota(nil))
  var model = Model(
    bytes: origin.isEmpty ? [UInt8](repeating: 0, count: Int(size)) : origin, origin: origin,
    readOnly: options.isReadOnly == true, session: session)

  // The requests.
  var requests: [(request: Request, data: ArraySlice<UInt8>)] = []
  client.requests.removeAll(keepingCapacity: true)
  while input.count >= 9, requests.count < 64 {
    let type = input.removeFirst(), flags = input.removeFirst()
    let at: UInt16 = input.takeNumber()!
    let place = input.removeFirst()
    let length: UInt16 = input.takeNumber()!
    let unit = input.removeFirst(), value = input.removeFirst()
    var request = Request(.read, cookie: UInt64(requests.count) << 32 | UInt64(value))
    request.type = UInt16(type & 15)
    request.flags = CommandFlags(rawValue: UInt16(flags & 63))
    request.offset = UInt64(at) << UInt64(place & 7) | UInt64(place >> 3)
    request.length = UInt64(length) << UInt64(unit & 3)
    if request.type == Command.resize.rawValue && unit & 128 != 0 { request.length = 0 }
    let hasPayload =
      request.type == Command.write.rawValue || extended && request.flags.contains(.payloadLength)
    var data = [UInt8](repeating: value, count: hasPayload ? Int(request.length) : 0)
    if hasPayload && request.type == Command.blockStatus.rawValue && data.count >= 16 {
      // A range and a context.
      data.replaceSubrange(
        0..<8,
        with: encode(Request(.read, offset: UInt64(value) << 9), extended: true, data: [])[16..<24])
      data.replaceSubrange(8..<12, with: [0, 0, 0, 1 + value % 3])
    }
    request.payload = UInt64(data.count)
    requests.append((request, data[...]))
    client.requests += encode(request, extended: extended, data: data[...])
  }
  let end = max(0, client.requests.count - (cut < 128 ? 0 : Int(cut - 127) * 33))
  client.requests.removeLast(client.requests.count - end)

  // The exchange.
  var sockets: [Int32] = [-1, -1]
  precondition(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &sockets) == 0)
  client.socket = sockets[0]
  client.start()
  do {
    let grant = access.grant(.user(getuid()), disk)
    var transmission = Transmission(
      socket: sockets[1], tls: nil, disk: disk, grant: grant,
      account: access.account(.user(getuid())),
      session: session, late: nil, machine: machine, overhead: overhead, busyPoll: 0, recordSize: {}
    )
    transmission.run()
    access.end(grant)
  }
  close(sockets[1])
  client.wait()
  close(sockets[0])

  // The comparison.
  model.replies = client.replies[...]
  let head = extended ? Request.extendedLength : Request.length
  var at = 0
  var torn: (range: Range<Int>, value: UInt8)?
  for (request, data) in requests {
    guard at + head + data.count <= end else {
      // A write that is cut off may be there in part.
      if at + head <= end,
        (try? request.command(
          size: UInt64(model.bytes.count), readOnly: model.readOnly, session: session)) == .write
      {
        torn = (Int(request.offset)..<Int(request.offset + request.length), data.first ?? 0)
      }
      break
    }
    at += head + data.count
    guard model.take(request, data: data) else { break }
  }
  precondition(model.replies.isEmpty, "bytes after the last reply")
  precondition(disk.size == UInt64(model.bytes.count), "the size")
  var found = [UInt8](repeating: 0, count: model.bytes.count)
  found.withUnsafeMutableBytes { try! space.read(at: 0, into: $0) }
  if let torn {
    for index in torn.range where found[index] == torn.value { model.bytes[index] = torn.value }
  }
  precondition(isSame(found[...], model.bytes[...]), "the contents")
  precondition(
    model.late.allSatisfy { late in torn.map { $0.range ~= late.index } ?? false }, "a read")
  return 0
}

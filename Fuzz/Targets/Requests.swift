// Fuzzes the decoding and the check of requests, and the heads of replies. Byte 0 has the session,
// bytes 1–8 the size of the export, and the rest is requests.

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> CInt {
  guard count >= 9 else { return 0 }
  var input = Array(UnsafeBufferPointer(start: bytes, count: count))[...]
  let bits = input.removeFirst()
  guard let size: UInt64 = input.takeNumber() else { return 0 }
  let extended = bits & 1 != 0
  let session = Session(
    structured: extended || bits & 2 != 0, extended: extended,
    contexts: bits & 4 != 0 ? .allocation : [])
  let readOnly = bits & 8 != 0
  let length = extended ? Request.extendedLength : Request.length
  while input.count >= length {
    let head = Array(input.prefix(length))
    input = input.dropFirst(length)
    let decoded = head.withUnsafeBytes {
      extended ? Request(extended: $0.baseAddress!) : Request($0.baseAddress!)
    }
    guard let request = decoded else { return 0 }
    check(request, size: size, readOnly: readOnly, session: session)
    checkReplies(request, extended: extended)
    if request.type == Command.write.rawValue {
      input = input.dropFirst(Int(clamping: request.payload))
    }
  }
  return 0
}

/// What was accepted must be safe to carry out.
private func check(_ request: Request, size: UInt64, readOnly: Bool, session: Session) {
  guard
    let command = try? request.command(size: size, readOnly: readOnly, session: session)
  else { return }
  let changes: Set<Command> = [.write, .writeZeroes, .trim, .resize]
  precondition(!readOnly || !changes.contains(command), "a change of a read-only export")
  #if PLANTED_BUG
    // No file of the corpus has a TRIM with this flag.
    let isPlanted = command == .trim && request.flags.contains(.forceUnitAccess)
    precondition(!isPlanted, "the planted bug")
  #endif
  switch command {
  case .disconnect, .flush: return
  case .resize: return precondition(request.offset > 0 && request.length == 0)
  case .blockStatus where request.flags.contains(.payloadLength):
    return precondition(session.extended)
  default: break
  }
  let (end, overflow) = request.offset.addingReportingOverflow(request.length)
  precondition(!overflow && end <= size, "beyond the end")
  if command == .read || command == .write {
    precondition(request.length <= UInt64(Limits.largestPayload), "too much at once")
  }
}

/// Each head fits, says its own length, and repeats the request's cookie.
private func checkReplies(_ request: Request, extended: Bool) {
  let to = ReplyTo(request, extended: extended)
  let heads: [(UnsafeMutableRawPointer) -> Int] = [
    { Reply.simple($0, cookie: request.cookie, error: .invalid) },
    { Reply.data($0, to, offset: request.offset, length: 1, last: false) },
    { Reply.hole($0, to, offset: request.offset, length: 4096, last: true) },
    { Reply.none($0, to) },
    { Reply.blockStatus($0, to, context: .allocation, extents: 3, last: true) },
    { Reply.error($0, to, error: .noSpace, message: "no space") },
  ]
  for (index, store) in heads.enumerated() {
    var room = [UInt8](repeating: 0xA5, count: Reply.longestHead + 16)
    let length = room.withUnsafeMutableBytes { store($0.baseAddress!) }
    precondition(length <= Reply.longestHead, "a head of \(length) bytes")
    precondition(room[length...].allSatisfy { $0 == 0xA5 }, "bytes behind the head")
    var cookie = room[8..<16]
    precondition(cookie.takeNumber() == request.cookie, "the cookie")
    guard index > 0 else { continue }
    // Bytes that follow the head: the data, or the extents.
    let after = index == 1 ? 1 : index == 4 ? 3 * Reply.extentLength(extended: extended) : 0
    let fixed = extended ? 32 : 20
    var field = room[(extended ? 24 : 16)..<fixed]
    let said: UInt64
    if extended {
      said = field.takeNumber()!
    } else {
      let short: UInt32 = field.takeNumber()!
      said = UInt64(short)
    }
    precondition(said == UInt64(length - fixed + after), "the length in the head")
  }
}

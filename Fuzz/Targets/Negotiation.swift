// Fuzzes the negotiation. The first byte chooses the TLS mode and how the stream is cut into
// pieces; the rest is what a client sends. scripts/fuzz compiles this file into the module NBD.

/// Drives the state machine to its end, as a connection does, with a fixed table of disks.
private struct Negotiation {
  var replies: [UInt8] = []
  var session: Session?
  var isClosed = false

  init(_ mode: TLSMode, _ stream: ArraySlice<UInt8>, piece: Int) {
    var handshake = Handshake(tls: mode)
    var input: ArraySlice<UInt8> = []
    var rest = stream
    var action = Handshake.Action.receive
    while true {
      switch action {
      case .receive:
        if rest.isEmpty { return }
        input += rest.prefix(piece)
        rest = rest.dropFirst(piece)
        action = handshake.step(&input)
      case .send(let bytes):
        take(bytes, of: handshake, endsWithFinal: true)
        action = handshake.step(&input)
      case .resolve(let name, _):
        action = handshake.resolved(Self.lookUp(name))
      case .list:
        action = handshake.listed([("disk", "a disk")], isLast: false)
      case .sendAndList(let bytes):
        take(bytes, of: handshake, endsWithFinal: false)
        action = handshake.listed([("read-only", "")], isLast: true)
      case .startTLS(let bytes):
        // What follows stands for what TLS decrypts.
        take(bytes, of: handshake, endsWithFinal: true)
        handshake.secured()
        action = handshake.step(&input)
      case .transmit(let bytes, let session):
        let isExportName = handshake.code == OptionCode.exportName.rawValue
        if isExportName {
          precondition(bytes.count == 10 || bytes.count == 134, "the reply to EXPORT_NAME")
          replies += bytes
        } else {
          take(bytes, of: handshake, endsWithFinal: true)
        }
        precondition(!session.extended || session.structured)
        precondition(mode != .required || handshake.isSecure, "transmission without TLS")
        self.session = session
        return
      case .close(let bytes):
        if !bytes.isEmpty { take(bytes, of: handshake, endsWithFinal: true) }
        isClosed = true
        return
      }
    }
  }

  static func lookUp(_ name: String) -> Result<Export, Handshake.Refusal> {
    switch name {
    case "disk": .success(Export(name: name, description: "a disk", size: 1 << 20))
    case "read-only":
      .success(Export(name: name, description: "", size: .max, isReadOnly: true))
    default: .failure(.init(.unknown, "no disk \(name)"))
    }
  }

  /// Every reply parses, answers the option at hand, and is of bounded size. Only the last one of an
  /// option is final.
  mutating func take(_ bytes: [UInt8], of handshake: Handshake, endsWithFinal: Bool) {
    var bytes = bytes
    #if PLANTED_BUG
      // No file of the corpus has this option within TLS.
      if handshake.isSecure && handshake.code == OptionCode.structuredReply.rawValue {
        bytes.removeLast()
      }
    #endif
    precondition(bytes.count <= 16 << 10, "an answer of \(bytes.count) bytes")
    var rest = bytes[...]
    while !rest.isEmpty {
      guard let magic: UInt64 = rest.takeNumber(), let code: UInt32 = rest.takeNumber(),
        let type: UInt32 = rest.takeNumber(), let length: UInt32 = rest.takeNumber(),
        rest.count >= length
      else { preconditionFailure("a reply is cut off") }
      precondition(magic == Magic.optionReply && code == handshake.code, "out of step")
      rest = rest.dropFirst(Int(length))
      let isFinal = type == OptionReply.acknowledge.rawValue || type >> 31 == 1
      precondition(isFinal == (rest.isEmpty && endsWithFinal), "the final reply is the last one")
    }
    replies += bytes
  }
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> CInt {
  guard count > 0 else { return 0 }
  let input = Array(UnsafeBufferPointer(start: bytes, count: count))
  let mode = TLSMode.allCases[Int(input[0]) % 3]
  let whole = Negotiation(mode, input.dropFirst(), piece: .max)
  // The answers do not depend on how the bytes arrive.
  let pieces = Negotiation(mode, input.dropFirst(), piece: 1 + Int(input[0]) / 3 % 16)
  precondition(whole.replies == pieces.replies, "other replies in pieces")
  precondition(whole.session == pieces.session && whole.isClosed == pieces.isClosed)
  return 0
}

/// The server's side of the fixed newstyle negotiation, without any I/O. The driver feeds it bytes
/// and does what the returned action says.
///
/// ```
///   clientFlags ──▶ option ──▶ transmission
///                   │ ▲  ▲
///  resolving, securing ▼ │  │ skipping (an oversized option)
///                   ──┘──┘
/// ```
public struct Handshake: Sendable {
  enum State: Sendable, Equatable {
    case clientFlags
    case option
    case skipping(UInt64)
    case resolving(Purpose)
    case listing
    case securing
    case transmission
    case closed
  }
  /// Why an export is being looked up.
  enum Purpose: Sendable, Equatable {
    case exportName
    case info(requests: [UInt16])
    case go(requests: [UInt16])
    case metaContexts(set: Bool, queries: [String])
  }

  public enum Action: Sendable, Equatable {
    /// Feed more bytes.
    case receive
    case send([UInt8])
    /// Look up an export and call `resolved`. If `connect` is true, the client is about to use the
    /// export: make the fork that the name asks for.
    case resolve(name: String, connect: Bool)
    /// Call `listed` with the names of all exports, or with the first of them.
    case list
    /// Send the bytes, then call `listed` with the next names.
    case sendAndList([UInt8])
    /// Send the bytes, then begin TLS and call `secured`. If bytes of the client are left in the
    /// input, close instead: they came without TLS, and somebody else may have put them there.
    case startTLS([UInt8])
    /// Send the bytes; the negotiation is over.
    case transmit([UInt8], Session)
    /// Send the bytes, then close.
    case close([UInt8])
  }

  /// Why a client cannot have an export. The reply tells the client.
  public struct Refusal: Error, Sendable {
    public var reply: OptionReply
    public var message: String
    public init(_ reply: OptionReply, _ message: String) {
      self.reply = reply
      self.message = message
    }
  }

  var state = State.clientFlags
  var omitsZeroes = false
  var session = Session()
  /// The metadata contexts that the client selected, and the export for which it did. They hold for
  /// no other export.
  var selected: (contexts: MetaContexts, export: String)?
  /// The option being answered.
  var code: UInt32 = 0
  var exportName = ""
  let tls: TLSMode
  var isSecure = false

  public init(tls: TLSMode = .off) { self.tls = tls }

  /// The first message, which the server sends.
  public static let greeting: [UInt8] = {
    var bytes: [UInt8] = []
    bytes.append(number: Magic.greeting)
    bytes.append(number: Magic.option)
    bytes.append(number: UInt16(0b11))  // fixed newstyle, no zeroes
    return bytes
  }()

  /// Removes bytes from the front of `input`, up to the end of one option, and returns the next
  /// action.
  public mutating func step(_ input: inout ArraySlice<UInt8>) -> Action {
    switch state {
    case .clientFlags:
      guard let flags: UInt32 = input.takeNumber() else { return .receive }
      guard flags & ~0b11 == 0 else { return close() }
      omitsZeroes = flags & 0b10 != 0
      state = .option
      return step(&input)
    case .skipping(let left):
      let skipped = min(left, UInt64(input.count))
      input.removeFirst(Int(skipped))
      guard skipped == left else {
        state = .skipping(left - skipped)
        return .receive
      }
      state = .option
      return step(&input)
    case .option:
      var ahead = input
      guard let magic: UInt64 = ahead.takeNumber(), let code: UInt32 = ahead.takeNumber(),
        let length: UInt32 = ahead.takeNumber()
      else { return .receive }
      guard magic == Magic.option else { return close() }
      self.code = code
      if length > Limits.option {
        input = ahead
        state = .skipping(UInt64(length))
        return refuse(.tooBig, "an option has at most \(Limits.option) bytes, this has \(length)")
      }
      guard ahead.count >= length else { return .receive }
      let payload = ahead.prefix(Int(length))
      input = ahead.dropFirst(Int(length))
      return option(payload)
    case .resolving, .listing, .securing, .transmission, .closed:
      preconditionFailure("handshake: step in state \(state)")
    }
  }

  private mutating func option(_ payload: ArraySlice<UInt8>) -> Action {
    let option = OptionCode(rawValue: code)
    if tls == .required && !isSecure && option != .startTLS && option != .abort {
      // EXPORT_NAME has no error reply.
      return option == .exportName
        ? close() : refuse(.needsTLS, "this server needs TLS; begin with STARTTLS")
    }
    switch option {
    case .startTLS: return startTLS(payload)
    case .exportName:
      guard payload.count <= Limits.string,
        let name = String(validating: payload, as: UTF8.self)
      else { return close() }
      return resolve(name, .exportName)
    case .abort:
      return close(reply(.acknowledge))
    case .list:
      guard payload.isEmpty else { return refuse(.invalid, "LIST has no data") }
      state = .listing
      return .list
    case .structuredReply:
      guard payload.isEmpty else { return refuse(.invalid, "STRUCTURED_REPLY has no data") }
      guard !session.extended else {
        return refuse(.needsExtendedHeaders, "extended headers are in use, which replace it")
      }
      session.structured = true
      return .send(reply(.acknowledge))
    case .extendedHeaders:
      guard payload.isEmpty else { return refuse(.invalid, "EXTENDED_HEADERS has no data") }
      guard !session.extended else {
        return refuse(.invalid, "extended headers are in use already")
      }
      // They include structured replies.
      session.structured = true
      session.extended = true
      return .send(reply(.acknowledge))
    case .info, .go:
      return infoOrGo(payload)
    case .listMetaContext, .setMetaContext:
      return metaContext(payload)
    case nil:
      return refuse(.unsupported, "option \(code) is not supported")
    }
  }

  private mutating func startTLS(_ payload: ArraySlice<UInt8>) -> Action {
    guard payload.isEmpty else { return refuse(.invalid, "STARTTLS has no data") }
    guard !isSecure else { return refuse(.invalid, "TLS is in use already") }
    guard tls != .off else { return refuse(.policy, "this server has no TLS here") }
    state = .securing
    return .startTLS(reply(.acknowledge))
  }

  /// Continues after the action `.startTLS`, once TLS is in use. What was negotiated without TLS is
  /// forgotten, since somebody between client and server may have changed it.
  public mutating func secured() {
    precondition(state == .securing, "handshake: secured in state \(state)")
    state = .option
    isSecure = true
    session = Session()
    selected = nil
  }

  private mutating func infoOrGo(_ payload: ArraySlice<UInt8>) -> Action {
    var rest = payload
    guard let name = rest.takeString(), let count: UInt16 = rest.takeNumber(),
      rest.count == 2 * Int(count)
    else {
      return refuse(.invalid, "the option's data is not a name and a list of information types")
    }
    var requests: [UInt16] = []
    while let type: UInt16 = rest.takeNumber() { requests.append(type) }
    let isGo = code == OptionCode.go.rawValue
    return resolve(name, isGo ? .go(requests: requests) : .info(requests: requests))
  }

  private mutating func metaContext(_ payload: ArraySlice<UInt8>) -> Action {
    let isSet = code == OptionCode.setMetaContext.rawValue
    // A SET replaces the selection even when it fails.
    if isSet { selected = nil }
    guard session.structured else {
      return refuse(.invalid, "metadata contexts need structured replies; negotiate those first")
    }
    var rest = payload
    var queries: [String] = []
    guard let name = rest.takeString(), let count: UInt32 = rest.takeNumber() else {
      return refuse(.invalid, "the option's data is not a name and a list of queries")
    }
    for _ in 0..<count {
      guard let query = rest.takeString() else {
        return refuse(.invalid, "query \(queries.count) of \(count) is not a string")
      }
      queries.append(query)
    }
    guard rest.isEmpty else { return refuse(.invalid, "\(rest.count) bytes after the last query") }
    return resolve(name, .metaContexts(set: isSet, queries: queries))
  }

  private mutating func resolve(_ name: String, _ purpose: Purpose) -> Action {
    state = .resolving(purpose)
    exportName = name
    switch purpose {
    case .exportName, .go: return .resolve(name: name, connect: true)
    case .info, .metaContexts: return .resolve(name: name, connect: false)
    }
  }

  mutating func close(_ bytes: [UInt8] = []) -> Action {
    state = .closed
    return .close(bytes)
  }
}

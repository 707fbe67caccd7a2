import Testing

@testable import NBD

/// The bytes of an option that a client sends.
private func option(_ code: UInt32, _ payload: [UInt8] = []) -> [UInt8] {
  var bytes: [UInt8] = []
  bytes.append(number: Magic.option)
  bytes.append(number: code)
  bytes.append(number: UInt32(payload.count))
  return bytes + payload
}

private func text(_ string: String) -> [UInt8] {
  var bytes: [UInt8] = []
  bytes.append(number: UInt32(string.utf8.count))
  return bytes + Array(string.utf8)
}

private func contexts(_ export: String, _ queries: [String]) -> [UInt8] {
  var bytes = text(export)
  bytes.append(number: UInt32(queries.count))
  return bytes + queries.flatMap(text)
}

/// A negotiation with a server that has one export, `disk` of 1 MiB.
private struct Client {
  var handshake: Handshake

  init(tls: TLSMode = .off) {
    handshake = Handshake(tls: tls)
    _ = handshake.step([0, 0, 0, 3])
  }

  /// Returns the action that an option leads to, after the lookup of exports.
  mutating func send(_ bytes: [UInt8]) -> Handshake.Action {
    var input = bytes[...]
    var action = handshake.step(&input)
    if case .resolve(let name, _) = action {
      let export = Export(name: "disk", description: "a disk", size: 1 << 20)
      action = handshake.resolved(
        name == "disk" ? .success(export) : .failure(.init(.unknown, "no such disk")))
    } else if action == .list {
      action = handshake.listed([("disk", "a disk"), ("other", "")], isLast: true)
    }
    if case .close = action { return action }
    #expect(input.isEmpty, "the stream is in step")
    return action
  }

  /// Returns the type of the last option reply in an answer.
  mutating func reply(_ bytes: [UInt8]) -> UInt32? {
    guard case .send(let answer) = send(bytes) else { return nil }
    var rest = answer[...]
    var type: UInt32?
    while !rest.isEmpty {
      let magic: UInt64? = rest.takeNumber()
      #expect(magic == Magic.optionReply)
      let code: UInt32? = rest.takeNumber()
      #expect(code == handshake.code)
      type = rest.takeNumber()
      let length: UInt32 = rest.takeNumber() ?? 0
      rest.removeFirst(Int(length))
    }
    return type
  }
}

extension Handshake {
  fileprivate mutating func step(_ bytes: [UInt8]) -> Action {
    var input = bytes[...]
    return step(&input)
  }
}

@Suite struct HandshakeTests {
  @Test func bytesMayComeOneByOne() {
    var handshake = Handshake()
    var input: ArraySlice<UInt8> = []
    var actions: [Handshake.Action] = []
    for byte in [0, 0, 0, 3] + option(3) {
      input.append(byte)
      actions.append(handshake.step(&input))
      if actions.last != .receive { break }
    }
    #expect(actions.last == .list && actions.count == 20)
    #expect(actions.dropLast().allSatisfy { $0 == .receive })
  }

  @Test func unknownFlagsClose() {
    var handshake = Handshake()
    #expect(handshake.step([0, 0, 0, 4]) == .close([]))
  }

  @Test func garbageCloses() {
    var client = Client()
    #expect(client.send([UInt8](repeating: 7, count: 16)) == .close([]))
  }

  @Test(arguments: [4, 12, 0, .max] as [UInt32])
  func unknownOptionsAreRefusedInStep(code: UInt32) {
    var client = Client()
    #expect(client.reply(option(code, [1, 2, 3])) == OptionReply.unsupported.rawValue)
    #expect(client.reply(option(3)) == OptionReply.acknowledge.rawValue)
  }

  @Test func oversizedOptionIsRefusedAndSkipped() {
    var client = Client()
    let payload = [UInt8](repeating: 0, count: Int(Limits.option) + 1)
    let whole = option(6, payload)
    #expect(client.reply(Array(whole.prefix(16))) == OptionReply.tooBig.rawValue)
    #expect(client.send(payload) == .receive)
    #expect(client.reply(option(3)) == OptionReply.acknowledge.rawValue)
  }

  @Test(arguments: [
    [], [0, 0, 0], text("disk"), text("disk") + [0, 1], text("disk") + [0, 0, 0],
  ])
  func malformedInfoIsInvalid(payload: [UInt8]) {
    var client = Client()
    #expect(client.reply(option(6, payload)) == OptionReply.invalid.rawValue)
    #expect(client.reply(option(7, payload)) == OptionReply.invalid.rawValue)
  }

  @Test func nameThatIsNotUTF8IsInvalid() {
    var client = Client()
    #expect(client.reply(option(6, [0, 0, 0, 1, 0xff, 0, 0])) == OptionReply.invalid.rawValue)
  }

  @Test func aListComesPieceByPiece() {
    var client = Client()
    #expect(client.handshake.step(option(3)) == .list)
    guard
      case .sendAndList(let first) = client.handshake.listed(
        [("a", ""), ("b", "text")], isLast: false),
      case .sendAndList(let none) = client.handshake.listed([], isLast: false),
      case .send(let last) = client.handshake.listed([("c", "")], isLast: true)
    else {
      Issue.record("not in pieces")
      return
    }
    #expect(first.count == 2 * 25 + 4 && none.isEmpty && last.count == 25 + 20)
    #expect(client.reply(option(3)) == OptionReply.acknowledge.rawValue, "in step")
  }

  @Test func theTextOfARefusalIsCutAtACharacter() {
    for text in [String(repeating: "ä", count: 3000), "x" + String(repeating: "ä", count: 3000)] {
      var client = Client()
      _ = client.handshake.step(option(6, NBDTests.text("no") + [0, 0]))
      guard case .send(let bytes) = client.handshake.resolved(.failure(.init(.unknown, text)))
      else {
        Issue.record("no refusal")
        return
      }
      let sent = String(validating: bytes.dropFirst(20), as: UTF8.self)
      #expect(bytes.count <= 20 + 4096 && bytes.count > 20 + 4090)
      #expect(sent?.hasSuffix("ä…") == true)
      #expect(bytes[16..<20].reduce(0) { $0 << 8 | Int($1) } == bytes.count - 20)
    }
  }

  @Test func goTransmitsAndUnknownNameDoesNot() {
    var client = Client()
    #expect(client.reply(option(7, text("no") + [0, 0])) == OptionReply.unknown.rawValue)
    guard case .transmit(_, let session) = client.send(option(7, text("disk") + [0, 0])) else {
      Issue.record("not transmitting")
      return
    }
    #expect(session == Session())
  }

  @Test(arguments: [(UInt8(1), 134), (3, 10)])
  func exportNameAnswersTheOldWay(flags: UInt8, length: Int) {
    var client = Client()
    client.handshake = Handshake()
    _ = client.handshake.step([0, 0, 0, flags])
    guard case .transmit(let bytes, _) = client.send(option(1, Array("disk".utf8))) else {
      Issue.record("not transmitting")
      return
    }
    #expect(bytes.count == length && bytes[5] == 0x10)
    var other = Client()
    #expect(other.send(option(1, Array("no".utf8))) == .close([]))
  }

  @Test func contextsNeedStructuredReplies() {
    var client = Client()
    let set = option(10, contexts("disk", ["base:allocation"]))
    #expect(client.reply(set) == OptionReply.invalid.rawValue)
    #expect(client.reply(option(8)) == OptionReply.acknowledge.rawValue)
    #expect(client.reply(set) == OptionReply.acknowledge.rawValue)
    guard case .transmit(_, let session) = client.send(option(7, text("disk") + [0, 0])) else {
      Issue.record("not transmitting")
      return
    }
    #expect(session == Session(structured: true, contexts: .allocation))
  }

  @Test func failedSetDropsTheSelection() {
    var client = Client()
    _ = client.send(option(8))
    _ = client.send(option(10, contexts("disk", ["base:allocation"])))
    #expect(client.reply(option(10, [1])) == OptionReply.invalid.rawValue)
    guard case .transmit(_, let session) = client.send(option(7, text("disk") + [0, 0])) else {
      Issue.record("not transmitting")
      return
    }
    #expect(session.contexts.isEmpty)
  }

  @Test func wildcardIsForListsOnly() {
    var client = Client()
    _ = client.send(option(8))
    func answer(_ code: UInt32, _ queries: [String]) -> Int {
      guard case .send(let bytes) = client.send(option(code, contexts("disk", queries))) else {
        return -1
      }
      return bytes.count
    }
    let none = answer(10, ["base:"])
    #expect(none == 20)
    #expect(answer(9, ["base:"]) == none + 39 && answer(9, []) == none + 39 + 2 * 40)
    #expect(answer(9, ["x-other:"]) == none && answer(10, ["base:alloc"]) == none)
  }

  @Test func unreadableStructuredReplyRequestIsInvalid() {
    var client = Client()
    #expect(client.reply(option(8, [1])) == OptionReply.invalid.rawValue)
    #expect(!client.handshake.session.structured)
  }

  @Test func abortIsAcknowledgedAndCloses() {
    var client = Client()
    guard case .close(let bytes) = client.send(option(2)) else {
      Issue.record("not closed")
      return
    }
    #expect(bytes.count == 20)
  }

  // TLS

  @Test func starttlsForgetsWhatWasNegotiated() {
    var client = Client(tls: .allowed)
    _ = client.reply(option(8))
    _ = client.reply(option(10, contexts("disk", ["base:allocation"])))
    guard case .startTLS(let bytes) = client.send(option(5)) else {
      Issue.record("no TLS")
      return
    }
    #expect(bytes.count == 20)
    client.handshake.secured()
    #expect(
      client.reply(option(10, contexts("disk", ["base:allocation"])))
        == OptionReply.invalid.rawValue)
    #expect(client.reply(option(5)) == OptionReply.invalid.rawValue)
    guard case .transmit(_, let session) = client.send(option(7, text("disk") + [0, 0])) else {
      Issue.record("no transmission")
      return
    }
    #expect(session == Session())
  }

  @Test(arguments: [2, 5, 8, 1, 3, 6, 7, 9, 10, 11, 99] as [UInt32])
  func whereTLSIsRequiredNothingElseWorks(code: UInt32) {
    var client = Client(tls: .required)
    let action = client.send(option(code, code == 1 ? Array("disk".utf8) : []))
    switch (code, action) {
    case (2, .close(let bytes)): #expect(bytes.count == 20)
    case (1, .close(let bytes)): #expect(bytes.isEmpty)
    case (5, .startTLS): break
    case (_, .send(let bytes)):
      #expect(bytes[12..<16] == [0x80, 0, 0, 5], "\(code)")
    default: Issue.record("\(code): \(action)")
    }
  }

  @Test func starttlsIsRefusedWithoutTLSAndWithData() {
    var client = Client()
    #expect(client.reply(option(5)) == OptionReply.policy.rawValue)
    client = Client(tls: .allowed)
    #expect(client.reply(option(5, [1])) == OptionReply.invalid.rawValue)
  }

  // Extended headers

  @Test func extendedHeadersIncludeStructuredReplies() {
    var client = Client()
    #expect(client.reply(option(11, [0])) == OptionReply.invalid.rawValue)
    #expect(client.reply(option(11)) == OptionReply.acknowledge.rawValue)
    #expect(client.reply(option(11)) == OptionReply.invalid.rawValue)
    #expect(client.reply(option(8)) == OptionReply.needsExtendedHeaders.rawValue)
    _ = client.reply(option(10, contexts("disk", ["x-hugemem:frames", "x-hugemem:origin"])))
    guard case .transmit(let bytes, let session) = client.send(option(7, text("disk") + [0, 0]))
    else {
      Issue.record("no transmission")
      return
    }
    #expect(
      session == Session(structured: true, extended: true, contexts: [.origin, .frames]))
    // BLOCK_STATUS with a payload is announced.
    #expect(bytes[30] & 0x10 != 0)
  }

  @Test func namespacesAreWildcardsInALIST() {
    func named(_ code: UInt32, _ queries: [String]) -> [String] {
      var client = Client()
      _ = client.reply(option(8))
      guard case .send(let answer) = client.send(option(code, contexts("disk", queries))) else {
        return []
      }
      var names: [String] = []
      var rest = answer[...]
      while rest.count > 20 {
        let length = Int(rest[rest.startIndex + 19])
        names.append(
          String(
            decoding: rest[(rest.startIndex + 24)..<(rest.startIndex + 20 + length)], as: UTF8.self)
        )
        rest = rest.dropFirst(20 + length)
      }
      return names
    }
    let ours = ["x-hugemem:origin", "x-hugemem:frames"]
    #expect(named(9, []) == ["base:allocation"] + ours)
    #expect(named(9, ["x-hugemem:"]) == ours)
    #expect(named(9, ["base:", "x-hugemem:frames"]) == ["base:allocation", "x-hugemem:frames"])
    #expect(named(10, ["x-hugemem:"]) == [])
    #expect(
      named(10, ["x-hugemem:frames", "base:allocation"]) == ["base:allocation", "x-hugemem:frames"])
    #expect(named(9, ["", ":", "x-", "x-hugemem"]) == [])
  }
}

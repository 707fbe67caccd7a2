import Testing

@testable import NBD

@Suite struct RequestTests {
  static let session = Session(structured: true, contexts: .allocation)
  static let size: UInt64 = 1 << 30

  private func error(
    _ request: Request, session: Session = session, readOnly: Bool = false
  ) -> ReplyError? {
    do {
      _ = try request.command(size: Self.size, readOnly: readOnly, session: session)
      return nil
    } catch { return error.error }
  }

  @Test func decodesWhatIsOnTheWire() {
    var bytes: [UInt8] = []
    bytes.append(number: Magic.request)
    bytes.append(number: UInt16(3))
    bytes.append(number: UInt16(6))
    bytes.append(number: UInt64(0x0102_0304_0506_0708))
    bytes.append(number: UInt64(4096))
    bytes.append(number: UInt32(512))
    let request = unsafe bytes.withUnsafeBytes { unsafe Request($0.baseAddress!) }
    let expected = Request(
      .writeZeroes, flags: [.forceUnitAccess, .noHole], cookie: 0x0102_0304_0506_0708, offset: 4096,
      length: 512)
    #expect(request == expected)
    bytes[0] = 0
    #expect(unsafe bytes.withUnsafeBytes { unsafe Request($0.baseAddress!) } == nil)
  }

  @Test(arguments: [
    (Command.write, ReplyError.noSpace), (.writeZeroes, .noSpace), (.read, .invalid),
    (.trim, .invalid), (.blockStatus, .invalid), (.cache, .invalid),
  ])
  func beyondTheEnd(command: Command, expected: ReplyError) {
    let size = Self.size
    #expect(error(Request(command, offset: size - 4096, length: 4096)) == nil)
    #expect(error(Request(command, offset: size - 4096, length: 4097)) == expected)
    #expect(error(Request(command, offset: size + 1, length: 1)) == expected)
    #expect(error(Request(command, offset: .max, length: 4096)) == expected)
  }

  @Test func payloadIsLimitedAndOtherLengthsAreNot() {
    #expect(error(Request(.read, length: 64 << 20)) == nil)
    #expect(error(Request(.write, length: 64 << 20)) == nil)
    #expect(error(Request(.read, length: 64 << 20 + 1)) == .invalid)
    #expect(error(Request(.write, length: 64 << 20 + 1)) == .invalid)
    #expect(error(Request(.trim, length: 1 << 30)) == nil)
    #expect(error(Request(.writeZeroes, length: 1 << 30)) == nil)
  }

  @Test func flagsBelongToTheirCommands() {
    #expect(error(Request(.read, flags: .dontFragment, length: 1)) == nil)
    #expect(error(Request(.read, flags: .dontFragment, length: 1), session: Session()) == .invalid)
    #expect(error(Request(.write, flags: .noHole, length: 1)) == .invalid)
    #expect(error(Request(.trim, flags: .fastZero, length: 1)) == .invalid)
    #expect(error(Request(.blockStatus, flags: .requireOne, length: 1)) == nil)
    #expect(error(Request(.flush, flags: CommandFlags(rawValue: 1 << 9))) == .invalid)
    #expect(error(Request(.read, flags: .forceUnitAccess, length: 1)) == nil)
  }

  @Test func blockStatusNeedsItsContextAndALength() {
    #expect(error(Request(.blockStatus, length: 0)) == .invalid)
    #expect(error(Request(.blockStatus, length: 1), session: Session(structured: true)) == .invalid)
  }

  @Test func readOnlyRefusesWhatModifies() {
    for command in [Command.write, .trim, .writeZeroes] {
      #expect(error(Request(command, length: 1), readOnly: true) == .notPermitted)
    }
    #expect(error(Request(.read, length: 1), readOnly: true) == nil)
  }

  private static let extended = Session(structured: true, extended: true, contexts: .allocation)

  private func decoded(_ type: Command, flags: UInt16 = 0, length: UInt64) -> Request? {
    var bytes: [UInt8] = []
    bytes.append(number: Magic.extendedRequest)
    bytes.append(number: flags)
    bytes.append(number: type.rawValue)
    bytes.append(number: UInt64(9))
    bytes.append(number: UInt64(4096))
    bytes.append(number: length)
    return unsafe bytes.withUnsafeBytes { unsafe Request(extended: $0.baseAddress!) }
  }

  @Test func extendedHeaders() throws {
    let request = try #require(decoded(.trim, length: 1 << 40))
    #expect(request.offset == 4096 && request.length == 1 << 40 && request.payload == 0)
    #expect(decoded(.write, flags: 0b10_0000, length: 7)?.payload == 7)
    #expect(decoded(.write, length: 7)?.payload == 7)
    #expect(decoded(.blockStatus, flags: 0b10_0000, length: 12)?.payload == 12)
    #expect(decoded(.trim, flags: 0b10_0000, length: 5)?.payload == 5)
  }

  @Test func payloadLengthBelongsToWriteAndBlockStatus() {
    for (command, expected) in [
      (Command.write, nil), (.blockStatus, nil), (.read, ReplyError.invalid), (.trim, .invalid),
      (.flush, .invalid), (.writeZeroes, .invalid), (.cache, .invalid),
    ] {
      let request = Request(command, flags: .payloadLength, length: 16)
      #expect(error(request, session: Self.extended) == expected, "\(command)")
      #expect(error(request) == .invalid, "\(command) without extended headers")
    }
  }

  @Test(arguments: [UInt64.max, .max - 4095, 1 << 63, 1 << 32, (1 << 32) - 1] as [UInt64])
  func sumsThatWrap(length: UInt64) {
    for command in [Command.read, .trim, .writeZeroes, .cache, .blockStatus, .write] {
      for offset in [0, 1, 4096, Self.size, .max] as [UInt64] {
        #expect(
          error(Request(command, offset: offset, length: length), session: Self.extended) != nil)
      }
    }
  }

  @Test func resize() {
    #expect(error(Request(.resize, offset: 1 << 40)) == nil)
    #expect(error(Request(.resize, offset: 0)) == .invalid)
    #expect(error(Request(.resize, offset: 1, length: 1)) == .invalid)
    #expect(error(Request(.resize, offset: 1), readOnly: true) == .notPermitted)
  }

  @Test func unknownCommandIsInvalid() {
    var request = Request(.read)
    request.type = 9
    #expect(error(request) == .invalid)
    #expect(request.payload == 0)
  }
}

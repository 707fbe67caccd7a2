import Testing

@testable import NBD

@Suite struct RequestTests {
  static let session = Session(structured: true, allocation: true)
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

  @Test func unknownCommandIsInvalid() {
    var request = Request(.read)
    request.type = 8
    #expect(error(request) == .invalid)
    #expect(request.payload == 0)
  }
}

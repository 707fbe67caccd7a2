import Testing

@testable import NBD

@Suite struct ReplyTests {
  private let to = ReplyTo(Request(.read, cookie: 1))
  private let extended = ReplyTo(Request(.read, cookie: 1, offset: 0x3000), extended: true)

  /// Returns what an encoder stored, as hexadecimal digits.
  private func hex(_ body: (UnsafeMutableRawPointer) -> Int) -> String {
    let target = UnsafeMutableRawPointer.allocate(byteCount: Reply.longestHead, alignment: 8)
    defer { unsafe target.deallocate() }
    let length = unsafe body(target)
    return (0..<length).map { index in
      let byte = unsafe target.load(fromByteOffset: index, as: UInt8.self)
      return (byte < 16 ? "0" : "") + String(byte, radix: 16)
    }.joined()
  }

  // The expected bytes are from the text of the protocol.
  @Test func simple() {
    #expect(unsafe hex { unsafe Reply.simple($0, cookie: 5) } == "67446698000000000000000000000005")
    #expect(
      unsafe hex { unsafe Reply.simple($0, cookie: 5, error: .noSpace) }
        == "674466980000001c0000000000000005")
  }

  @Test func data() {
    #expect(
      unsafe hex { unsafe Reply.data($0, to, offset: 0x2000, length: 0x1000, last: false) }
        == "668e33ef" + "0000" + "0001" + "0000000000000001" + "00001008" + "0000000000002000")
  }

  @Test func hole() {
    #expect(
      unsafe hex { unsafe Reply.hole($0, to, offset: 0x2000, length: 0x1000, last: true) }
        == "668e33ef" + "0001" + "0002" + "0000000000000001" + "0000000c" + "0000000000002000"
        + "00001000")
  }

  @Test func blockStatus() {
    #expect(
      unsafe hex { unsafe Reply.blockStatus($0, to, context: .allocation, extents: 2, last: true) }
        == "668e33ef" + "0001" + "0005" + "0000000000000001" + "00000014" + "00000001")
    #expect(
      unsafe hex { unsafe Reply.extent($0, length: 0x1000, flags: 3, extended: false) }
        == "0000100000000003")
    #expect(
      unsafe hex { unsafe Reply.extent($0, length: 0xffff_ffff, flags: 0, extended: false) }
        == "ffffffff00000000")
  }

  @Test func extendedHeads() {
    func head(_ type: String) -> String {
      "6e8a278c" + "0001" + type + "0000000000000001" + "0000000000003000"
    }
    #expect(unsafe hex { unsafe Reply.none($0, extended) } == head("0000") + "0000000000000000")
    #expect(
      unsafe hex { unsafe Reply.data($0, extended, offset: 0x3000, length: 0x1000, last: true) }
        == head("0001") + "0000000000001008" + "0000000000003000")
    #expect(
      unsafe hex { unsafe Reply.hole($0, extended, offset: 0x3000, length: 0x1000, last: true) }
        == head("0002") + "000000000000000c" + "0000000000003000"
        + "00001000")
    #expect(
      unsafe hex {
        unsafe Reply.blockStatus($0, extended, context: .frames, extents: 2, last: true)
      } == head("0006") + "0000000000000028" + "00000003"
        + "00000002")
    #expect(
      unsafe hex { unsafe Reply.extent($0, length: 1 << 40, flags: 2, extended: true) }
        == "0000010000000000" + "0000000000000002")
    #expect(
      unsafe hex { unsafe Reply.error($0, extended, error: .invalid, message: "no") }
        == head("8001") + "0000000000000008" + "00000016" + "0002"
        + "6e6f")
  }

  @Test func error() {
    #expect(
      unsafe hex { unsafe Reply.error($0, to, error: .invalid, message: "no") }
        == "668e33ef" + "0001" + "8001" + "0000000000000001" + "00000008" + "00000016" + "0002"
        + "6e6f")
  }

  @Test func longMessageIsCut() {
    let length =
      unsafe hex {
        unsafe Reply.error(
          $0, to, error: .invalid,
          message: """
            0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567\
            0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567
            """)
      }.count / 2
    #expect(length == Reply.longestHead)
  }
}

import Testing

@testable import NBD

@Suite struct ReplyTests {
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
      unsafe hex { unsafe Reply.data($0, cookie: 1, offset: 0x2000, length: 0x1000, last: false) }
        == "668e33ef" + "0000" + "0001" + "0000000000000001" + "00001008" + "0000000000002000")
  }

  @Test func hole() {
    #expect(
      unsafe hex { unsafe Reply.hole($0, cookie: 1, offset: 0x2000, length: 0x1000, last: true) }
        == "668e33ef" + "0001" + "0002" + "0000000000000001" + "0000000c" + "0000000000002000"
        + "00001000")
  }

  @Test func blockStatus() {
    #expect(
      unsafe hex { unsafe Reply.blockStatus($0, cookie: 1, extents: 2) }
        == "668e33ef" + "0001" + "0005" + "0000000000000001" + "00000014" + "00000001")
    #expect(
      unsafe hex { unsafe Reply.extent($0, length: 0x1000, isHole: true) } == "0000100000000003")
    #expect(
      unsafe hex { unsafe Reply.extent($0, length: .max, isHole: false) } == "ffffffff00000000")
  }

  @Test func error() {
    #expect(
      unsafe hex { unsafe Reply.error($0, cookie: 1, error: .invalid, message: "no") }
        == "668e33ef" + "0001" + "8001" + "0000000000000001" + "00000008" + "00000016" + "0002"
        + "6e6f")
  }

  @Test func longMessageIsCut() {
    let length =
      unsafe hex {
        unsafe Reply.error(
          $0, cookie: 1, error: .invalid,
          message: """
            0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567\
            0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567
            """)
      }.count / 2
    #expect(length == Reply.longestHead)
  }
}

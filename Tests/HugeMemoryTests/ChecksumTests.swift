import CLinux
import Testing

@Suite struct ChecksumTests {
  /// The check value of CRC-32C (RFC 3720, B.4), and sums in parts of every length.
  @Test func theChecksumIsCRC32C() {
    let digits = Array("123456789".utf8)
    #expect(unsafe hm_crc32c(0, digits, digits.count) == 0xe306_9283)
    let zeros = [UInt8](repeating: 0, count: 32)
    #expect(unsafe hm_crc32c(0, zeros, zeros.count) == 0x8a91_36aa)
    let bytes = (0..<100).map { UInt8($0 * 7 & 0xff) }
    let whole = unsafe hm_crc32c(0, bytes, bytes.count)
    for cut in 0...100 {
      let first = unsafe hm_crc32c(0, bytes, cut)
      let both = unsafe bytes.withUnsafeBufferPointer {
        unsafe hm_crc32c(first, $0.baseAddress! + cut, 100 - cut)
      }
      #expect(both == whole)
    }
  }
}

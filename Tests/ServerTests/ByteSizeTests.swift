import ControlPlane
import Testing

@Suite struct ByteSizeTests {
  @Test(
    arguments: [
      ("0", 0), ("512", 512), ("64K", 65536), ("64 KiB", 65536), ("64kb", 65536), ("1T", 1 << 40),
      ("1.5G", 3 << 29), (" 10 MiB ", 10 << 20), ("1P", 1 << 50), ("7B", 7),
    ] as [(String, UInt64)])
  func reads(text: String, bytes: UInt64) {
    #expect(ByteSize(text)?.bytes == bytes)
  }

  @Test(arguments: [
    "", "K", "-1", "1X", "1.1", "0.0001K", "1..5G", ".5G", "5.G", "99999999999999999999", "8192P",
    "1 2", "1e3", "٣",
  ])
  func refuses(text: String) {
    #expect(ByteSize(text) == nil)
  }

  @Test(
    arguments: [
      (0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (65536, "64 KiB"), (3 << 29, "1.5 GiB"),
      (1 << 40, "1 TiB"), (1_075_000_000, "1 GiB"), (1 << 63, "8192 PiB"), (1_100_000, "1.04 MiB"),
      (12_900_000, "12.3 MiB"),
    ] as [(UInt64, String)])
  func prints(bytes: UInt64, text: String) {
    #expect(ByteSize(bytes).description == text)
  }
}

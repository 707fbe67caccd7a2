import Testing

@testable import Paging

@Suite struct RadixTests {
  @Test func spansAreThoseOfX86() {
    let expected: [UInt64] = [0x1000, 0x20_0000, 0x4000_0000, 0x80_0000_0000, 0x1_0000_0000_0000]
    #expect((1...5).map(Radix.span) == expected)
  }

  @Test func theLevelIsTheLowestThatCovers() {
    let gib: UInt64 = 1 << 30
    let cases: [(UInt64, Int)] = [
      (1, 2), (gib / 512, 2), (gib, 2), (gib + 1, 3), (512 * gib, 3), (512 * gib + 1, 4),
      (1 << 48, 4),
    ]
    for (size, level) in cases {
      #expect(Radix.level(forSize: size) == level, "\(size)")
      #expect(Radix.span(level + 1) >= size)
    }
  }

  @Test func indexesOfAllLevelsMakeUpTheOffset() {
    for offset in [0, 4095, 4096, 0x1234_5678_9abc, (1 << 48) - 1] as [UInt64] {
      var sum = offset & 4095
      for level in 1...4 { sum += UInt64(Radix.index(offset, level)) * Radix.span(level) }
      #expect(sum == offset)
      for level in 1...4 { #expect((0..<512).contains(Radix.index(offset, level))) }
    }
  }
}

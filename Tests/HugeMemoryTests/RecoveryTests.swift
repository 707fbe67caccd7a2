import CLinux
import Frames
import Glibc
import Paging
import Primitives
import Testing

@testable import HugeMemory

/// Spaces whose memory outlives their machine. A machine that "crashed" is never freed, since its end
/// would give memory back; it is only left alone.
@Suite struct RecoveryTests {
  /// A memory file, and words for roots in it.
  @safe final class File: @unchecked Sendable {
    let descriptor: Int32
    private let roots: UnsafeMutablePointer<UInt64>
    var kept: [KeptSpace] = []
    static let limit: UInt64 = 64 << 20

    init() {
      var path = "/dev/shm/hugemem-test-XXXXXX".utf8CString.map { $0 }
      descriptor = unsafe mkstemp(&path)
      unsafe unlink(path)
      unsafe roots = .allocate(capacity: 256)
      unsafe roots.initialize(repeating: 0, count: 256)
      #expect(descriptor >= 0 && ftruncate(descriptor, off_t(Self.limit) + 4 << 20) == 0)
    }
    deinit {
      close(descriptor)
      unsafe roots.deallocate()
    }

    func keep(_ space: AddressSpace) {
      let root = unsafe DurableRoot(roots + kept.count)
      space.keepRoot(in: root)
      kept.append(KeptSpace(root: root, size: space.size))
    }

    func root(_ index: Int) -> UnsafeMutablePointer<UInt64> { unsafe roots + index }

    /// Bytes of memory behind the file.
    var memory: Int {
      var status = stat()
      unsafe fstat(descriptor, &status)
      return Int(status.st_blocks) * 512
    }

    func recover(
      policy: Policy = Policy(), crashes: Bool = true
    ) throws -> (machine: Machine, spaces: [AddressSpace?], report: RecoveryReport) {
      let machine = try Machine.prepare(
        ArenaFile(descriptor: descriptor, offset: 0), limit: Self.limit, policy: policy)
      let (spaces, report) = machine.recover(kept, background: .none)
      // Never freed: see above.
      if crashes {
        for space in spaces { _ = unsafe space.map { unsafe Unmanaged.passRetained($0) } }
      }
      return (machine, spaces, report)
    }
  }

  private func contents(_ space: AddressSpace?) throws -> [UInt8] {
    let space = try #require(space)
    return try space.bytes(at: 0, count: space.size)
  }

  @Test func whatWasWrittenIsThere() throws {
    let file = File()
    let before = try file.recover()
    let space = try before.machine.makeSpace(size: 16 << 20)
    file.keep(space)
    _ = unsafe Unmanaged.passRetained(space)
    try space.fill(1, at: 3 << 20 | 100, count: 5000)
    try space.fill(2, at: 6 << 20, count: 2 << 20)
    // A read maps the zero page, which does not outlive its process.
    #expect(try space.byte(at: 10 << 20) == 0)
    let expected = try contents(space)

    let after = try file.recover()
    #expect(after.machine.zeroPageReferences == 0)
    #expect(try contents(after.spaces[0]) == expected)
    #expect(after.report.damaged == 0)
    // Two pages, the huge frame, and their two tables and the root.
    #expect(after.report.frames == 2 + 512 + 2 || after.report.frames == 2 + 512 + 3)
    #expect(after.machine.memoryUsed >= UInt64(after.report.frames) * 4096)
  }

  @Test func forksShareWhatTheyShared() throws {
    let file = File()
    let before = try file.recover()
    let golden = try before.machine.makeSpace(size: 16 << 20)
    file.keep(golden)
    try golden.fill(1, at: 0, count: 4 << 20)
    try golden.fill(2, at: 8 << 20, count: 64 << 10)
    var spaces = [golden]
    for number in 0..<5 {
      let fork = try golden.fork()
      file.keep(fork)
      // Some forks split the huge frames, and some do not touch them.
      if number > 0 {
        try fork.fill(UInt8(10 + number), at: UInt64(number) << 12, count: 4096)
      }
      if number > 2 { try fork.discard(2 << 20..<3 << 20) }
      spaces.append(fork)
    }
    for space in spaces { _ = unsafe Unmanaged.passRetained(space) }
    let expected = try spaces.map(contents)
    before.machine.settle()
    let used = before.machine.memoryUsed

    let after = try file.recover()
    for (space, expected) in zip(after.spaces, expected) {
      #expect(try contents(space) == expected)
    }
    #expect(after.report.damaged == 0)
    after.machine.shrink()
    #expect(after.machine.memoryUsed <= used)
    // A write still reaches one of them only, and what goes gives its memory back.
    let fork = try #require(after.spaces[3])
    try fork.fill(77, at: 0, count: 1 << 20)
    #expect(try contents(after.spaces[0]) == expected[0])
    #expect(try contents(after.spaces[1]) == expected[1])
    for space in after.spaces.compactMap(\.self) { try space.discard(space.bounds) }
    after.machine.shrink()
    #expect(after.machine.memoryUsed == 0)
  }

  /// What nobody names is free, and its memory goes back: blocks that were unmapped, forks without a
  /// root in the file, what waited for a grace period.
  @Test func whatNobodyNamesIsFree() throws {
    let file = File()
    let before = try file.recover()
    let space = try before.machine.makeSpace(size: 32 << 20)
    file.keep(space)
    try space.fill(1, at: 0, count: 8 << 20)
    let fork = try space.fork()
    try fork.fill(2, at: 0, count: 16 << 20)
    _ = unsafe (Unmanaged.passRetained(space), Unmanaged.passRetained(fork))
    #expect(file.memory >= 24 << 20)

    let after = try file.recover()
    #expect(after.machine.memoryUsed < 9 << 20)
    #expect(file.memory < 11 << 20)
    let kept = try #require(after.spaces[0])
    #expect(try contents(kept).prefix(8 << 20).allSatisfy { $0 == 1 })
    // All the rest can be had, and is clear.
    let rest = try after.machine.makeSpace(size: 64 << 20)
    var at: UInt64 = 0
    while (try? rest.fill(3, at: at, count: 1)) != nil { at += 4096 }
    #expect(at > 48 << 20)
    for offset in stride(from: 0, to: at, by: 4096) {
      let page = try rest.bytes(at: offset, count: 4096)
      #expect(page[0] == 3 && page.dropFirst().allSatisfy { $0 == 0 })
    }
  }

  /// A recovery of a recovery, and of one that was itself interrupted at any point, finds the same.
  @Test func recoveryCanBeRepeated() throws {
    let file = File()
    let before = try file.recover()
    let space = try before.machine.makeSpace(size: 16 << 20)
    file.keep(space)
    try space.fill(1, at: 4096, count: 3 << 20)
    let fork = try space.fork()
    file.keep(fork)
    try fork.fill(2, at: 0, count: 5000)
    _ = unsafe (Unmanaged.passRetained(space), Unmanaged.passRetained(fork))
    let expected = try (contents(space), contents(fork))
    var frames: Int?
    for _ in 0..<3 {
      let after = try file.recover()
      #expect(try contents(after.spaces[0]) == expected.0)
      #expect(try contents(after.spaces[1]) == expected.1)
      #expect(frames == nil || frames == after.report.frames)
      frames = after.report.frames
    }
  }

  /// Flips bits of tables and roots. No other space's bytes are ever seen, and nothing traps.
  @Test func aFlippedBitHarmsNobodyElse() throws {
    var random = Random(seed: 7)
    var seen = 0
    for round in 0..<40 {
      let file = File()
      let before = try file.recover()
      var spaces: [AddressSpace] = []
      for number in 0..<4 {
        let space = number == 3 ? try spaces[2].fork() : try before.machine.makeSpace(size: 8 << 20)
        file.keep(space)
        _ = unsafe Unmanaged.passRetained(space)
        if number < 3 {
          for page in 0..<40 {
            try space.fill(UInt8(number + 1), at: UInt64(page * 37 % 512) << 12, count: 4096)
          }
          try space.fill(UInt8(number + 1), at: 4 << 20, count: 2 << 20)
        }
        spaces.append(space)
      }
      // Memory that was freed, and still has somebody's bytes.
      let gone = try before.machine.makeSpace(size: 8 << 20)
      for page in 0..<100 {
        try gone.fill(99, at: UInt64(page) << 12, count: 4096)
      }
      _ = unsafe Unmanaged.passRetained(gone)
      let tables = tables(of: before.machine)
      for _ in 0...round % 4 {
        let bit = UInt64(1) << UInt64.random(in: 0..<64, using: &random)
        if round % 5 == 0 {
          unsafe file.root(Int.random(in: 0..<4, using: &random)).pointee ^= bit
        } else {
          let table = tables[Int.random(in: 0..<tables.count, using: &random)]
          let words = unsafe before.machine.arena.address(table).assumingMemoryBound(
            to: UInt64.self)
          let used = (0..<Table.count).filter { unsafe words[$0] != 0 }
          unsafe words[used[Int.random(in: 0..<used.count, using: &random)]] ^= bit
        }
      }
      var after = try file.recover(crashes: false)
      seen += after.report.damaged
      for (number, space) in after.spaces.enumerated() {
        guard let space else { seen += 1; continue }
        let own = UInt8(min(number, 2) + 1)
        let known = [[UInt8](repeating: 0, count: 4096), [UInt8](repeating: own, count: 4096)]
        for page in stride(from: 0, to: space.size, by: 4096) {
          let found = try space.bytes(at: page, count: 4096)
          if !known.contains(found) { Issue.record("space \(number), byte \(page): \(found[0])") }
        }
        // Whatever is there can be written, copied and given back.
        try space.fill(50, at: 4000, count: 5000)
        try space.discard(0..<6 << 20)
      }
      // All that was counted is given back.
      after.spaces = []
      after.machine.shrink()
      #expect(after.machine.memoryUsed == 0)
    }
    #expect(seen > 20)
  }

  private func tables(of machine: Machine) -> [FrameNumber] {
    machine.scanList.all.flatMap { handle in
      handle.withSpace {
        tables(Entry(raw: $0.root.load(.relaxed)), in: machine.arena, level: $0.level)
      } ?? []
    }
  }

  private func tables(_ entry: Entry, in arena: Arena, level: Int) -> [FrameNumber] {
    guard entry.kind == .table else { return [] }
    let table = Table(entry.frame, in: arena)
    return [entry.frame]
      + (level > 1
        ? (0..<Table.count).flatMap { tables(table[$0], in: arena, level: level - 1) } : [])
  }
}

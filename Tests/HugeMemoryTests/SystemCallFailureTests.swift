import CLinux
import Glibc
import Testing

@testable import HugeMemory

/// System calls that fail, one kind at a time. A failure affects only this thread, so all work is
/// done on it.
@Suite struct SystemCallFailureTests {
  private enum Call: Int32 { case reserve, giveBack, protect, splitBacking }

  private func failing(
    _ call: Call, after: Int32 = 0, forever: Bool = true, _ body: () throws -> Void
  ) rethrows {
    hm_fail(call.rawValue, after, ENOMEM, forever ? 1 : 0)
    defer { hm_fail(call.rawValue, 0, 0, 0) }
    try body()
  }

  @Test func withoutProtectionReadsDoWithoutAZeroPage() throws {
    let machine = try Machine(limit: 64 * mib)
    do {
      let space = try machine.makeSpace(size: gib)
      try space.fill(1, at: 100 * slot, count: page)
      try failing(.protect) { () throws in
        for at in 0..<UInt64(20) {
          #expect(try space.bytes(at: at * slot + 100, count: page).allSatisfy { $0 == 0 })
        }
        #expect(machine.zeroPageReferences == 0)
        #expect(machine[counter: "thp_zero_page_alloc"] == 0)
        #expect(machine[counter: "thp_zero_page_alloc_failed"] > 0)
        #expect(try space.byte(at: 100 * slot) == 1)
      }
      _ = try space.byte(at: 200 * slot)
      #expect(machine[counter: "thp_zero_page_alloc"] == 1)
    }
    machine.expectBaseline()
  }

  /// A frame that cannot be made writable is never used again: a write to it would trap.
  @Test func aZeroFrameThatStaysReadOnlyIsNotUsedAgain() throws {
    let machine = try Machine(limit: 8 * mib)
    do {
      let space = try machine.makeSpace(size: gib)
      _ = try space.byte(at: 0)
      failing(.protect) { machine.revokeZeroPage() }
      #expect(machine.zeroPageReferences == 0)
      // Writes all memory that is left. This would trap if the frame were part of it.
      var written: UInt64 = 0
      do {
        while true {
          try space.fill(7, at: 2 * slot + written * slot, count: slot)
          written += 1
        }
      } catch MemoryError.outOfMemory {}
      #expect(written == 2)
      #expect(try space.bytes(at: 2 * slot, count: written * slot).allSatisfy { $0 == 7 })
      try space.discard(at: 0, length: gib)
    }
    machine.shrink()
    #expect(machine.memoryUsed == slot)
  }

  @Test(arguments: [0, 2]) func whatIsNotGivenBackCanBeUsed(_ after: Int32) throws {
    let machine = try Machine(limit: 32 * mib)
    do {
      let space = try machine.makeSpace(size: gib)
      for turn in UInt8(1)...3 {
        for at in 0..<UInt64(12) { try space.fill(turn, at: at * slot, count: slot) }
        for at in 0..<UInt64(1000) { try space.fill(turn, at: gib / 2 + at * page, count: page) }
        try failing(.giveBack, after: after) {
          try space.discard(at: 0, length: 11 * slot)
          for at in 0..<UInt64(500) {
            try space.discard(at: gib / 2 + 2 * at * page, length: page)
          }
          machine.reclaim()
          machine.trim(all: true)
        }
        // No old contents show where memory must be zero.
        try space.fill(9, at: 0, count: 1)
        try space.fill(9, at: gib / 2, count: 1)
        #expect(try space.bytes(at: 1, count: slot - 1).allSatisfy { $0 == 0 })
        #expect(try space.bytes(at: gib / 2 + 1, count: page - 1).allSatisfy { $0 == 0 })
        #expect(try space.byte(at: 11 * slot) == turn)
        #expect(try space.byte(at: gib / 2 + page) == turn)
      }
    }
    machine.expectBaseline()
  }

  @Test(arguments: [0, 1]) func aReservationThatFailsIsATypedError(_ after: Int32) throws {
    failing(.reserve, after: after) {
      do throws(MemoryError) {
        _ = try Machine(limit: 64 * mib)
        Issue.record("a machine without memory")
      } catch {
        #expect(error == .system(call: "mmap", errno: ENOMEM))
      }
    }
    _ = try Machine(limit: 64 * mib)
  }
}

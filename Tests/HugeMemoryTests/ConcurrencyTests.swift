import Foundation
import Synchronization
import Testing

@testable import HugeMemory

/// Threads that do everything to shared spaces at the same time. Each word contains its place and
/// its writer, so a reader can recognize a wrong one. No two threads use the same word at the same
/// time, because the result would be undefined.
@Suite(.serialized) struct ConcurrencyTests {
  static let rounds = Int(ProcessInfo.processInfo.environment["HUGEMEMORY_ROUNDS"] ?? "600")!

  /// The word of a writer for a place. 0 means that the place was never written, or was discarded.
  private static func word(_ at: UInt64, _ writer: Int, _ round: Int) -> UInt64 {
    at << 24 | UInt64(writer + 1) << 16 | UInt64(round & 0xffff)
  }

  private static func writeWord(_ word: UInt64, _ space: AddressSpace, _ at: UInt64) {
    do {
      try unsafe withUnsafeBytes(of: word) { try unsafe space.write(at: at, from: $0) }
    } catch { Issue.record("write at \(at): \(error)") }
  }

  private static func readWord(_ space: AddressSpace, _ at: UInt64) -> UInt64 {
    var word: UInt64 = 0
    do {
      try unsafe withUnsafeMutableBytes(of: &word) { try unsafe space.read(at: at, into: $0) }
    } catch { Issue.record("read at \(at): \(error)") }
    return word
  }

  /// Each writer owns every fourth word of the same pages, and reads back what it wrote. One more
  /// thread forks and checks the forks; another reclaims by every means.
  @Test(arguments: [true, false], Policy.ZeroReference.allCases)
  func writersOfOnePageLoseNothing(_ huge: Bool, _ reference: Policy.ZeroReference) throws {
    let machine = try Machine(limit: 128 * mib, policy: Policy(huge: huge, reference: reference))
    do {
      let space = try machine.makeSpace(size: 8 * mib)
      let left = Atomic(3)
      onThreads(5) { thread in
        var random = Random(seed: UInt64(thread))
        guard thread < 3 else {
          while left.load(ordering: .relaxed) > 0 {
            if thread == 4 {
              machine.reclaim()
              machine.revokeZeroPage()
              machine.trim(all: true)
              machine.shrink()
            }
            guard thread == 3, let fork = try? space.fork() else { continue }
            // No other thread uses the fork. A word must be whole, stay the same, and belong to its
            // place.
            for _ in 0..<20 {
              let at = random.below(8 * mib / 8) * 8
              let seen = Self.readWord(fork, at)
              if seen != 0, seen >> 24 != at { Issue.record("\(seen >> 24) at \(at)") }
              Self.writeWord(seen &+ 1, fork, at)
              if Self.readWord(fork, at) != seen &+ 1 { Issue.record("fork changed at \(at)") }
            }
          }
          return
        }
        var written: [UInt64: UInt64] = [:]
        for round in 0..<Self.rounds {
          // Few pages, so that writers use the same ones.
          let at =
            random.below(4) * slot + random.below(6) * page
            + (random.below(128) * 4 + UInt64(thread)) * 8
          let word = Self.word(at, thread, round)
          Self.writeWord(word, space, at)
          written[at] = word
          if let (old, value) = written.randomElement(using: &random),
            Self.readWord(space, old) != value
          {
            Issue.record("thread \(thread) lost its word at \(old)")
          }
        }
        for (at, value) in written where Self.readWord(space, at) != value {
          Issue.record("thread \(thread) lost its word at \(at) in the end")
        }
        left.subtract(1, ordering: .relaxed)
      }
    }
    machine.expectBaseline("huge \(huge), \(reference)")
  }

  /// Every thread has its own pages of a shared space, and writes, reads, discards and pins them.
  /// Threads share tables and huge frames, but no pages.
  @Test(arguments: [true, false], Policy.ZeroReference.allCases)
  func neighboursInOneTableDoNotDisturbEachOther(
    _ huge: Bool, _ reference: Policy.ZeroReference
  ) throws {
    let machine = try Machine(limit: 128 * mib, policy: Policy(huge: huge, reference: reference))
    do {
      let space = try machine.makeSpace(size: 8 * mib)
      onThreads(4) { thread in
        var random = Random(seed: UInt64(thread) + 77)
        var model: [UInt64: UInt8] = [:]
        var forks: [(space: AddressSpace, model: [UInt64: UInt8])] = []
        var pins = Pins(machine: machine, capacity: 4)
        do {
          for round in 0..<Self.rounds {
            let own = random.below(16) * 32 + UInt64(thread) * 8 + random.below(8)
            let at = random.below(2) * slot + own * page
            switch random.below(10) {
            case 0..<4:
              let value = UInt8(round & 127 + 1)
              try space.fill(value, at: at, count: page)
              model[at] = value
            case 4, 5:
              try space.discard(at: at, length: page)
              model[at] = 0
            case 6:
              forks.append((try space.fork(), model))
              if forks.count > 3 { forks.removeFirst() }
            case 7:
              try space.pin(at: at, length: page, into: &pins)
              if unsafe pins[0].contains(where: { $0 != model[at] ?? 0 }) {
                Issue.record("pinned at \(at)")
              }
              pins.release()
            default: break
            }
            let view = forks.randomElement(using: &random) ?? (space, model)
            for (space, model) in [(space, model), view] {
              let bytes = try space.bytes(at: at, count: page)
              if bytes[0] != model[at] ?? 0 || bytes[4095] != bytes[0] {
                Issue.record("thread \(thread), round \(round): \(bytes[0]) at \(at)")
              }
            }
          }
        } catch { Issue.record("\(error)") }
      }
    }
    machine.expectBaseline("huge \(huge), \(reference)")
  }

  /// Forks one golden space, and writes, resets and drops the forks, in an arena that is too small
  /// for all of them at once.
  @Test func forksComeAndGoInATightArena() throws {
    let machine = try Machine(limit: 12 * mib)
    do {
      let golden = try machine.makeSpace(size: gib)
      for index in 0..<UInt64(3) {
        try golden.fill(UInt8(index + 1), at: index * slot, count: page)
      }
      onThreads(4) { thread in
        var random = Random(seed: UInt64(thread))
        var space = try! golden.fork()
        for round in 0..<Self.rounds {
          let index: UInt64 = random.below(3)
          let mine = UInt8(16 + thread)
          do {
            try space.fill(mine, at: index * slot + 100, count: 3 * page)
            if try space.byte(at: index * slot + 99) != index + 1 { Issue.record("golden page") }
            if try space.byte(at: index * slot + 2 * page) != mine { Issue.record("own page") }
          } catch MemoryError.outOfMemory {
          } catch { Issue.record("\(error)") }
          if round % 3 == 0 { try! space.reset(to: golden) }
          if round % 5 == 0 { space = try! golden.fork() }
          if try! space.byte(at: index * slot) != index + 1 { Issue.record("golden byte") }
        }
      }
      for index in 0..<UInt64(3) { #expect(try golden.byte(at: index * slot) == index + 1) }
    }
    machine.expectBaseline()
  }
}

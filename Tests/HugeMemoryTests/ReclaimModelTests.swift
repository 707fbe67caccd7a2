import Foundation
import Primitives
import Synchronization
import Testing

@testable import HugeMemory

/// The random programs of `ModelTests`, with everything that reclaim does mixed in. Contents must
/// not change.
@Suite(.serialized) struct ReclaimModelTests {
  @Test(arguments: ModelTests.Configuration.all)
  func reclaimChangesNoContents(_ configuration: ModelTests.Configuration) throws {
    let first = UInt64(ProcessInfo.processInfo.environment["HUGEMEMORY_SEED"] ?? "1")!
    let runs = UInt64(ProcessInfo.processInfo.environment["HUGEMEMORY_RUNS"] ?? "3")!
    for seed in first..<first + runs {
      var program = try Program(configuration, seed: seed)
      for step in 0..<120 where program.failure == nil {
        if program.random.below(3) == 0 { try program.stepOfReclaim() } else { try program.step() }
        program.verify(all: step % 8 == 7)
      }
      program.finish()
      if let failure = program.failure {
        Issue.record("\(configuration.testDescription), seed \(seed): \(failure)")
        return
      }
    }
  }

  /// Each writer checks what it wrote, while another thread reclaims all the time. The spaces are
  /// forks of one origin.
  @Test(arguments: [true, false]) func reclaimBesideWritersLosesNoWrite(_ huge: Bool) throws {
    let machine = try Machine(limit: 96 * mib, policy: Policy(huge: huge))
    do {
      let origin = try machine.makeSpace(size: 2 * slot)
      try origin.fill(1, at: 0, count: slot + 64 * page)
      let wrong = Mutex<[String]>([])
      let isOver = Atomic(false)
      let reclaiming = startThread {
        while !isOver.load(ordering: .relaxed) {
          machine.reclaim()
          machine.revokeZeroPage()
          machine.trim(all: true)
        }
      }
      onThreads(3) { index in
        var random = Random(seed: UInt64(index) + 77)
        do {
          for round in 0..<12 {
            let space = try origin.fork()
            var model = [UInt8](repeating: 1, count: 64)
            for _ in 0..<400 {
              let at = random.below(64)
              // Zeros, the origin's contents, and others.
              let value = UInt8(random.below(3))
              if random.below(8) == 0 {
                try space.discard(at: UInt64(at) * page, length: page)
                model[at] = 0
              } else {
                try space.fill(value, at: UInt64(at) * page, count: page)
                model[at] = value
              }
              let other = random.below(64)
              let bytes = try space.bytes(at: UInt64(other) * page, count: page)
              if !bytes.allSatisfy({ $0 == model[other] }) {
                wrong.withLock { $0.append("thread \(index), round \(round), page \(other)") }
              }
            }
          }
        } catch { wrong.withLock { $0.append("\(error)") } }
      }
      isOver.store(true, ordering: .relaxed)
      reclaiming.join()
      #expect(wrong.withLock { $0 } == [])
      #expect(try origin.bytes(at: 0, count: slot + 64 * page).allSatisfy { $0 == 1 })
    }
    machine.expectBaseline()
  }
}

extension Program {
  /// One step of reclaim, or of a program that gives reclaim something to find.
  mutating func stepOfReclaim() throws {
    let index = Int(random.below(UInt64(spaces.count)))
    touched = index
    let range = range()
    let choice = random.below(9)
    log.append("space \(index) of \(spaces.count), \(range), reclaim \(choice)")
    switch choice {
    case 0, 1: machine.reclaim()
    case 2: machine.revokeZeroPage()
    case 3: machine.trim(all: random.below(2) == 0)
    case 4: machine.reclaim(priority: Int(random.below(13)))
    case 5:
      // Only if running out of memory is no failure.
      guard configuration.limit < 256 * mib else { return }
      machine.setLimit(random.below(configuration.limit / page + 1) * page)
    case 6: machine.setLimit(configuration.limit)
    case 7:
      let zeros = [UInt8](repeating: 0, count: range.count)
      let space = spaces[index].space
      try apply(index, range, zeros) { try space.write(zeros, at: range.lowerBound) }
    default:
      // The contents of another space at this place. They are often equal to the origin's.
      let other = Int(random.below(UInt64(spaces.count)))
      let bytes = spaces[other].slice(range)
      let space = spaces[index].space
      try apply(index, range, bytes) { try space.write(bytes, at: range.lowerBound) }
    }
  }
}

import Foundation
import Testing

@testable import HugeMemory

/// Random programs in which every space has limits. After each step, every charge is compared with
/// a count of what the space has. A failure names its seed, which reproduces it.
@Suite struct ChargeTests {
  /// Without forks, a space is charged for everything that it owns. With forks, it is charged for
  /// what it took itself: memory may become its own when another sharer goes, and it does not
  /// notice.
  @Test(arguments: [true, false], [true, false])
  func chargesAreWhatACountFinds(forks: Bool, huge: Bool) throws {
    let first = UInt64(ProcessInfo.processInfo.environment["HUGEMEMORY_SEED"] ?? "1")!
    let runs = UInt64(ProcessInfo.processInfo.environment["HUGEMEMORY_RUNS"] ?? "12")!
    for seed in first..<first + runs {
      var program = try ChargeProgram(seed: seed, huge: huge, forks: forks)
      for step in 0..<150 {
        try program.step()
        if let failure = program.failure() {
          Issue.record("seed \(seed), step \(step): \(failure), after \(program.log.suffix(8))")
          return
        }
      }
      program.spaces = []
      #expect(program.machine.memoryPromised == 0, "seed \(seed)")
      program.machine.expectBaseline("seed \(seed)")
    }
  }
}

private struct ChargeProgram {
  let machine: Machine
  let forks: Bool
  var random: Random
  var spaces: [AddressSpace]
  var log: [String] = []
  let size = 6 * mib + 1000

  init(seed: UInt64, huge: Bool, forks: Bool) throws {
    var policy = Policy(huge: huge)
    policy.maxPtesNone = 256
    machine = try Machine(limit: 96 * mib, policy: policy)
    random = Random(seed: seed)
    self.forks = forks
    spaces = [try machine.makeSpace(size: size)]
    try limit(0)
  }

  mutating func limit(_ index: Int) throws {
    let reserve = [nil, mib, 3 * mib].randomElement(using: &random)!
    let quota = [nil, 4 * mib].randomElement(using: &random)!
    // May be refused. The space then keeps its old limits.
    try? spaces[index].setLimits(quota: quota ?? 64 * mib, reserve: reserve)
  }

  mutating func step() throws {
    let index = Int(random.below(UInt64(spaces.count)))
    let space = spaces[index]
    let pages = random.below(3) == 0
    let unit = pages ? page : [1, page, slot].randomElement(using: &random)!
    let start = min(size - 1, random.below(size / unit + 1) * unit)
    let most = [3 * page, 40 * page, 2 * slot + 1].randomElement(using: &random)!
    let length = min(size - start, 1 + random.below(most))
    // For operations that take only whole pages.
    let first = start / page * page
    let whole = min(size - first, (length + page - 1) / page * page)
    let choice = random.below(22)
    log.append("\(choice) in \(index): \(start)+\(length)")
    switch choice {
    case 0..<5: try? space.fill(random.below(3) == 0 ? 0 : 7, at: start, count: length)
    case 5..<8: try? space.discard(at: start, length: length)
    case 8: try? space.zero(at: start, length: length, reserve: true)
    case 9, 10: _ = try? space.bytes(at: start, count: length)
    case 11: try? space.advise(at: first, length: whole, .collapse)
    case 12: machine.splitUnderused()
    case 13, 14:
      guard forks, spaces.count < 5, let fork = try? space.fork() else { return }
      spaces.append(fork)
      try limit(spaces.count - 1)
    case 15:
      if spaces.count > 1 { spaces.remove(at: index) }
    case 16:
      let origin = spaces[Int(random.below(UInt64(spaces.count)))]
      if forks { try? space.reset(to: origin) }
    case 17: try? space.unmap(at: first, length: whole)
    case 18: try? space.map(at: first, length: whole)
    case 19:
      let all: [Protection] = [[], .read, [.read, .write]]
      try? space.protect(at: first, length: whole, all.randomElement(using: &random)!)
    case 20:
      let target = random.below(size / page) * page
      try? space.move(from: first, to: target, length: whole)
    default: try limit(index)
    }
  }

  /// Describes the first charge that is wrong, if there is one.
  func failure() -> String? {
    var promised: UInt64 = 0
    for (index, space) in spaces.enumerated() {
      let charge = space.charge
      let own = space.usage().own
      guard forks ? charge <= own : charge == own else {
        return "space \(index) has a charge of \(charge / page) pages and owns \(own / page)"
      }
      let counted = space.lock.withLock {
        space.chargeOf(.init(raw: space.root.load(.relaxed)))
      }
      guard charge == UInt64(counted) * page else {
        return "space \(index) has a charge of \(charge / page) pages and \(counted) marked"
      }
      promised += max(charge, space.reserve ?? 0) - charge
    }
    guard promised == machine.memoryPromised else {
      return "\(machine.memoryPromised) bytes are promised, and it should be \(promised)"
    }
    return nil
  }
}

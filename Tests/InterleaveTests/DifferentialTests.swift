import Interleave
import Testing

/// Random small programs: every reduction finds the results of the plain search, no more and no
/// fewer, and a livelock where it finds one.
@Suite struct DifferentialTests {
  static let programs = 1_000
  static let largePrograms = 120
  static let shards = 8

  @Test(arguments: 0..<shards)
  func reductionsAgree(_ shard: Int) {
    var compared = 0, livelocks = 0
    for seed in stride(from: shard, to: Self.programs, by: Self.shards) {
      var generator = SeededGenerator(seed: UInt64(seed + 1))
      let program = Program(using: &generator)
      let (expected, plain) = outcomes([], program.litmus)
      compared += 1
      if plain.failure != nil { livelocks += 1 }
      for reduction in reductions.dropFirst() {
        let (found, report) = outcomes(reduction, program.litmus)
        #expect(report.failure?.kind == plain.failure?.kind, "seed \(seed): \(program)")
        if plain.failure == nil {
          #expect(plain.isComplete && report.isComplete)
          #expect(found == expected, "seed \(seed), \(reduction): \(program)")
        }
      }
    }
    #expect(compared == Self.programs / Self.shards)
    #expect(livelocks < compared / 3, "few of the programs were of use")
  }

  /// Larger programs, most of them sequential: only there a result can hang on the order of two
  /// loads or two fences. The cache alone is the reference, since plain search takes too long.
  @Test(arguments: 0..<shards)
  func sleepSetsAgreeOnSequentialPrograms(_ shard: Int) {
    for seed in stride(from: shard, to: Self.largePrograms, by: Self.shards) {
      var generator = SeededGenerator(seed: UInt64(seed + 10_000))
      let program = Program(sequentialUsing: &generator)
      let (expected, reference) = outcomes(.stateCache, program.litmus)
      let (found, report) = outcomes([.sleepSets, .stateCache], program.litmus)
      #expect(report.failure?.kind == reference.failure?.kind, "seed \(seed): \(program)")
      if reference.failure == nil { #expect(found == expected, "seed \(seed): \(program)") }
    }
  }

  /// A high enough bound is no bound, though the verdict does not say so.
  @Test func boundedSearchConvergesToAll() {
    for seed in 0..<20 {
      var generator = SeededGenerator(seed: UInt64(seed + 5_000))
      let program = Program(using: &generator)
      let (expected, plain) = outcomes([], program.litmus)
      guard plain.failure == nil else { continue }
      var last: Set<[UInt64]> = []
      for bound in 0...8 {
        let (found, report) = outcomes(
          [.sleepSets, .stateCache], program.litmus, preemptions: bound)
        guard case .bounded(bound) = report.verdict else {
          Issue.record("\(report)")
          return
        }
        let (same, _) = outcomes([], program.litmus, preemptions: bound)
        #expect(found == same, "seed \(seed), bound \(bound): \(program)")
        #expect(last.isSubset(of: found))
        last = found
      }
      #expect(last == expected, "seed \(seed): \(program)")
    }
  }
}

/// Two or three threads of a few operations on two locations.
private struct Program: CustomStringConvertible {
  enum Step {
    case load(Int, MemoryOrder), store(Int, UInt64, MemoryOrder), add(Int, MemoryOrder)
    case compareExchange(Int, UInt64, MemoryOrder), fence(MemoryOrder), await(Int, MemoryOrder)
  }
  var threads: [[Step]] = []

  init(using generator: inout SeededGenerator) {
    let count = Int.random(in: 2...3, using: &generator)
    for thread in 0..<count {
      let length = count == 2 ? Int.random(in: 2...4, using: &generator) : 2
      threads.append(
        (0..<length).map { Self.step(UInt64(thread * 4 + $0 + 1), using: &generator) })
    }
  }

  init(sequentialUsing generator: inout SeededGenerator) {
    for thread in 0..<3 {
      threads.append(
        (0..<3).map { index in
          let location = Int.random(in: 0..<2, using: &generator)
          let isStrong = Int.random(in: 0..<3, using: &generator) > 0
          let order: MemoryOrder = isStrong ? .sequential : .relaxed
          switch Int.random(in: 0..<12, using: &generator) {
          case 0..<5: return .load(location, order)
          case 5..<9: return .store(location, UInt64(thread * 4 + index + 1), order)
          case 9..<11: return .fence(.sequential)
          default: return .await(location, order)
          }
        })
    }
  }

  static func step(_ value: UInt64, using generator: inout SeededGenerator) -> Step {
    let loads: [MemoryOrder] = [.relaxed, .acquire, .sequential]
    let stores: [MemoryOrder] = [.relaxed, .release, .sequential]
    let all: [MemoryOrder] = [.relaxed, .acquire, .release, .acquireRelease, .sequential]
    let location = Int.random(in: 0..<2, using: &generator)
    func pick(_ orders: [MemoryOrder]) -> MemoryOrder {
      orders[Int.random(in: 0..<orders.count, using: &generator)]
    }
    switch Int.random(in: 0..<20, using: &generator) {
    case 0..<7: return .load(location, pick(loads))
    case 7..<13: return .store(location, value, pick(stores))
    case 13..<15: return .add(location, pick(all))
    case 15..<17: return .compareExchange(location, value, pick(all))
    case 17..<19: return .fence(pick(Array(all.dropFirst())))
    default: return .await(location, pick(loads))
    }
  }

  var litmus: Litmus {
    { words, registers in
      threads.enumerated().map { thread, steps in
        {
          for (index, step) in steps.enumerated() {
            registers[thread * 4 + index] = Self.run(step, words)
          }
        }
      }
    }
  }

  private static func run(_ step: Step, _ words: Words) -> UInt64 {
    switch step {
    case .load(let at, let order): return with(at, words) { $0.load(order) }
    case .store(let at, let value, let order):
      with(at, words) { $0.store(value, order) }
      return 0
    case .add(let at, let order): return with(at, words) { $0.add(16, order) }
    case .compareExchange(let at, let value, let order):
      return with(at, words) { $0.compareExchange(0, value, order).original }
    case .fence(let order):
      ModelWord.fence(order)
      return 0
    case .await(let at, let order):
      while true {
        let value = with(at, words) { $0.load(order) }
        if value != 0 { return value }
        pause()
      }
    }
  }

  private static func with<Result>(
    _ location: Int, _ words: Words, _ body: (borrowing ModelWord) -> Result
  ) -> Result {
    location == 0 ? body(words.x) : body(words.y)
  }

  var description: String {
    threads.map { $0.map { "\($0)" }.joined(separator: "; ") }.joined(separator: " ‖ ")
  }
}

import Interleave
import Testing

/// A bound on preemptions leaves out the executions that have more, and nothing else, with every
/// reduction. For sequential steps, the results are compared with a reference that shares nothing
/// with the checker; for other steps, with plain search.
@Suite struct BoundTests {
  static let programs = 32
  static let shards = 4

  @Test(arguments: 0..<shards)
  func aBoundLeavesOutNothingElse(_ shard: Int) {
    var grew = 0
    for seed in stride(from: shard, to: Self.programs, by: Self.shards) {
      var generator = SeededGenerator(seed: UInt64(seed + 40_000))
      let program = Program(interleavedUsing: &generator)
      var last: Set<[UInt64]> = []
      var unbounded = SequentialReference(program, bound: nil)
      unbounded.explore()
      for bound in [0, 1, 2, 3, nil] {
        var reference = SequentialReference(program, bound: bound)
        reference.explore()
        #expect(last.isSubset(of: reference.results))
        if !last.isEmpty && last.count < reference.results.count { grew += 1 }
        last = reference.results
        // Plain search takes too long if many switches are allowed.
        for reduction in reductions where (bound ?? .max) < 2 || reduction.contains(.stateCache) {
          let (found, report) = outcomes(reduction, program.litmus, preemptions: bound)
          #expect(
            agrees(found, reference.results, within: unbounded.results, reduction),
            "seed \(seed), bound \(bound ?? -1), \(reduction): \(program)")
          switch report.verdict {
          case .bounded(let told): #expect(told == bound)
          case .complete: #expect(bound == nil)
          default: Issue.record("\(report)")
          }
        }
      }
    }
    #expect(grew > Self.programs / Self.shards, "bounds made no difference to these programs")
  }

  /// A preemption at a point where nobody contends does not count. So with quiet locations,
  /// executions that would have one more preemption are within the bound. None is left out.
  private func agrees(
    _ found: Set<[UInt64]>, _ expected: Set<[UInt64]>, within all: Set<[UInt64]>,
    _ reduction: Checker.Reduction
  ) -> Bool {
    reduction.contains(.quietLocations)
      ? found.isSuperset(of: expected) && found.isSubset(of: all) : found == expected
  }

  /// The same for programs whose loads may return old values and whose threads wait. The reference
  /// is plain search.
  @Test(arguments: 0..<shards)
  func reductionsAgreeUnderABound(_ shard: Int) {
    for seed in stride(from: shard, to: Self.programs, by: Self.shards) {
      var generator = SeededGenerator(seed: UInt64(seed + 5_000))
      let program = Program(using: &generator)
      let (all, unbounded) = outcomes([.sleepSets, .stateCache], program.litmus)
      guard unbounded.failure == nil else { continue }
      var last: Set<[UInt64]> = []
      for bound in 0...3 {
        let (expected, _) = outcomes([], program.litmus, preemptions: bound)
        for reduction in reductions.dropFirst() {
          let (found, _) = outcomes(reduction, program.litmus, preemptions: bound)
          #expect(
            agrees(found, expected, within: all, reduction),
            "seed \(seed), bound \(bound), \(reduction): \(program)")
        }
        #expect(last.isSubset(of: expected) && expected.isSubset(of: all))
        last = expected
      }
      // So few steps cannot have more preemptions than this.
      let (found, _) = outcomes([.sleepSets, .stateCache], program.litmus, preemptions: 8)
      #expect(found == all, "seed \(seed): \(program)")
    }
  }
}

extension Program {
  /// Three threads of sequential steps on x and y. Each result is that of some interleaving.
  fileprivate init(interleavedUsing generator: inout SeededGenerator) {
    threads = (0..<3).map { _ in
      (0..<Int.random(in: 2...3, using: &generator)).map { _ in
        let at: Location = generator.pick([.x, .y])
        switch Int.random(in: 0..<6, using: &generator) {
        case 0..<3: return .load(at, .sequential)
        case 3: return .add(at, .sequential)
        case 4: return .compareExchange(at, 2, .sequential)
        default: return .store(at, generator.pick([1, 2]), .sequential)
        }
      }
    }
  }
}

/// Executes a program of sequential steps in every order that has at most `bound` preemptions.
private struct SequentialReference {
  private let threads: [[Program.Step]]
  private let bound: Int
  private var next: [Int]
  private var memory = [UInt64](repeating: 0, count: Program.Location.allCases.count)
  private var registers = [UInt64](repeating: 0, count: 16)
  private(set) var results: Set<[UInt64]> = []

  init(_ program: Program, bound: Int?) {
    threads = program.threads
    self.bound = bound ?? .max
    next = threads.map { _ in 0 }
  }

  mutating func explore() { explore(previous: nil, preemptions: 0) }

  private mutating func explore(previous: Int?, preemptions: Int) {
    let enabled = threads.indices.filter { next[$0] < threads[$0].count }
    if enabled.isEmpty {
      results.insert(Array(registers[..<14]) + memory[..<2])
      return
    }
    for thread in enabled {
      let isPreemption = previous.map { $0 != thread && enabled.contains($0) } ?? false
      let count = preemptions + (isPreemption ? 1 : 0)
      guard count <= bound else { continue }
      let before = (next, memory, registers)
      step(thread)
      explore(previous: thread, preemptions: count)
      (next, memory, registers) = before
    }
  }

  private mutating func step(_ thread: Int) {
    let step = threads[thread][next[thread]]
    let register =
      thread * Program.registersPerThread
      + threads[thread][..<next[thread]].count { !$0.isSilent }
    next[thread] += 1
    switch step {
    case .load(let at, .sequential): registers[register] = memory[at.rawValue]
    case .store(let at, let value, .sequential): memory[at.rawValue] = value
    case .add(let at, .sequential):
      registers[register] = memory[at.rawValue]
      memory[at.rawValue] += 1
    case .compareExchange(let at, let value, .sequential):
      registers[register] = memory[at.rawValue]
      if memory[at.rawValue] == 0 { memory[at.rawValue] = value }
    default: preconditionFailure("the reference knows no \(step)")
    }
  }
}

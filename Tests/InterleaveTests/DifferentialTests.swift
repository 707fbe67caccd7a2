import Interleave
import Testing

/// Random small programs: every reduction finds exactly the results of plain search, and finds a
/// livelock if plain search does.
@Suite struct DifferentialTests {
  static let programs = 1_000
  static let sequentialPrograms = 60
  static let neighbours = 12
  static let shards = 4

  @Test(arguments: 0..<shards)
  func reductionsAgree(_ shard: Int) {
    var compared = 0, livelocks = 0
    for seed in stride(from: shard, to: Self.programs, by: Self.shards) {
      var generator = SeededGenerator(seed: UInt64(seed + 1))
      let program = Program(using: &generator)
      if !agree(program, on: [[], .sleepSets, .stateCache, [.sleepSets, .stateCache]], seed) {
        livelocks += 1
      }
      compared += 1
    }
    #expect(compared == Self.programs / Self.shards)
    #expect(livelocks < compared / 3, "few of the programs were of use")
  }

  /// Larger programs, for which plain search takes too long. The reductions are compared with each
  /// other instead; the test above shows that each of them finds what plain search finds.
  @Test(arguments: 0..<shards)
  func reductionsAgreeOnSequentialPrograms(_ shard: Int) {
    for seed in stride(from: shard, to: Self.sequentialPrograms, by: Self.shards) {
      var generator = SeededGenerator(seed: UInt64(seed + 10_000))
      agree(
        Program(sequentialUsing: &generator), on: [.stateCache, [.sleepSets, .stateCache]], seed)
    }
  }

  /// Programs in which one state is easily taken for another, and random programs similar to them.
  @Test(arguments: lookalikes)
  func reductionsAgreeOnLookalikes(_ lookalike: Lookalike) {
    let reductions: [Checker.Reduction] = [.sleepSets, .stateCache, [.sleepSets, .stateCache]]
    for program in lookalike.program.reorderings {
      for seed in 0..<4 { agree(program, on: reductions, seed) }
    }
    for seed in 0..<Self.neighbours {
      var generator = SeededGenerator(seed: UInt64(seed + 20_000))
      agree(lookalike.program.neighbour(using: &generator), on: reductions, seed)
    }
  }

  /// Compares the reductions. Returns false if the program has a livelock, which ends the search.
  @discardableResult
  private func agree(
    _ program: Program, on reductions: [Checker.Reduction], _ seed: Int
  ) -> Bool {
    let (expected, reference) = outcomes(reductions[0], program.litmus)
    for reduction in reductions.dropFirst() {
      // A view has many lanes, and all must count. With more words than lanes, they get one later.
      let first = reduction.contains(.stateCache) ? [0, 25, 50, 60][seed % 4] : 0
      let (found, report) = outcomes(reduction, program.litmus, first: first)
      #expect(report.failure?.kind == reference.failure?.kind, "seed \(seed): \(program)")
      if reference.failure == nil {
        #expect(reference.isComplete && report.isComplete)
        #expect(found == expected, "seed \(seed), \(reduction): \(program)")
      }
    }
    return reference.failure == nil
  }
}

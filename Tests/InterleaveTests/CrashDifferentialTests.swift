import Interleave
import Testing

/// Random small programs that crash anywhere: what recovery finds with every reduction is exactly
/// what brute force finds, over all prefixes of all interleavings.
@Suite struct CrashDifferentialTests {
  /// An unoptimized build takes fifteen times as long.
  static let programs = isOptimized ? 400 : 60
  static let shards = 4

  /// The programs of a shard that have neither a race nor a livelock: those end a search, and then
  /// not all was found.
  private func programs(
    _ flavour: CrashProgram.Flavour, _ shard: Int, _ body: (Int, CrashProgram) -> Bool
  ) {
    var compared = 0
    for seed in stride(from: shard, to: Self.programs, by: Self.shards) {
      var generator = SeededGenerator(seed: UInt64(seed + 70_000))
      if body(seed, CrashProgram(flavour, using: &generator)) { compared += 1 }
    }
    #expect(compared > Self.programs / Self.shards / 3, "few of the programs were of use")
  }

  @Test(arguments: 0..<shards, [CrashProgram.Flavour.anyOrder, .sequential])
  func recoveryFindsAllThatBruteForceFinds(_ shard: Int, _ flavour: CrashProgram.Flavour) {
    programs(flavour, shard) { seed, program in
      let all: Checker.Reduction = [.sleepSets, .stateCache, .quietLocations]
      let (_, report) = program.left(all)
      guard report.failure == nil else { return false }
      var reference = CrashReference(program)
      reference.explore()
      for reduction in reductions {
        let (found, report) = program.left(reduction, first: [0, 58][seed / Self.shards % 2])
        #expect(report.isComplete, "seed \(seed): \(program): \(report)")
        #expect(
          found == reference.left,
          """
          seed \(seed), \(reduction): \(program)
          only by recovery: \(found.subtracting(reference.left))
          only by brute force: \(reference.left.subtracting(found))
          """)
        #expect(report.crashes == found.count, "a state was recovered from twice, or never")
      }
      return true
    }
  }

  /// Each crash fails in turn. Its token leads there again, also if stores were taken back.
  @Test(arguments: 0..<shards)
  func eachCrashIsReplayed(_ shard: Int) {
    programs(.copies, shard) { seed, program in
      guard seed / Self.shards % 10 == 0 else { return true }
      let (left, report) = program.left(reductions.last!)
      for crash in left where report.failure == nil {
        let scenario = program.scenario { check($0 != crash, "\(crash)") }
        guard let failure = Checker().run(scenario).failure else {
          Issue.record("seed \(seed): \(crash) was not found again: \(program)")
          continue
        }
        let again = Checker().replay(failure.token, scenario)
        #expect(again?.message == failure.message, "seed \(seed): \(crash): \(program)")
      }
      return true
    }
  }

  /// Programs made so that two of their states differ only in what a crash can leave. If the hash of
  /// states left that out, one would be taken for the other.
  @Test(arguments: Self.lookalikes)
  func recoveryFindsAllInLookalikes(_ program: CrashProgram) {
    var reference = CrashReference(program)
    reference.explore()
    for reduction in reductions {
      for first in [0, 58] {
        let (found, report) = program.left(reduction, first: first)
        #expect(report.isComplete && found == reference.left, "\(reduction): \(program)")
        #expect(report.crashes == found.count, "a state was recovered from twice, or never")
      }
    }
  }

  static let lookalikes = [
    // The third thread's write may be missing, and then the cell has what the first or the second
    // wrote last. When the write is done, nothing else tells the two orders apart.
    CrashProgram(
      threads: [
        [.lock, .write(cell: 0, 1), .add(0, .relaxed), .unlock],
        [.lock, .write(cell: 0, 2), .add(0, .relaxed), .unlock],
        [.lock, .write(cell: 0, 3), .store(1, 1, .relaxed), .unlock],
      ], survivors: [true, true, false]),
    // The fence is on the writer too, and makes nothing of its write certain.
    CrashProgram(
      threads: [
        [.write(cell: 0, 1), .store(0, 1, .relaxed), .store(1, 1, .relaxed)],
        [.await(0, .acquire), .processFence, .store(2, 1, .release)],
      ], survivors: [true, true, true]),
    // When the third thread has stored 3, nothing but its log tells which of the others stored first.
    // A crash that takes the 3 back shows it, together with what the second thread did since.
    CrashProgram(
      threads: [
        [.lock, .store(0, 1, .relaxed), .unlock],
        [
          .lock, .store(0, 2, .relaxed), .unlock, .await(2, .acquire), .store(1, 1, .relaxed),
        ],
        [.lock, .store(2, 1, .relaxed), .store(0, 3, .relaxed), .unlock],
      ], survivors: [true, true, false]),
    // The same with a cell, whose write a release has made certain.
    CrashProgram(
      threads: [
        [.lock, .write(cell: 0, 1), .unlock],
        [.lock, .write(cell: 0, 2), .unlock, .await(2, .acquire), .store(1, 1, .relaxed)],
        [
          .lock, .store(2, 1, .relaxed), .write(cell: 0, 3), .store(0, 1, .release), .unlock,
        ],
      ], survivors: [true, true, false]),
    // Before the fence, either write may be missing.
    CrashProgram(
      threads: [
        [
          .store(2, 1, .relaxed), .write(cell: 0, 1), .write(cell: 1, 1), .fence(.release),
          .store(0, 1, .relaxed),
        ],
        [.store(2, 2, .relaxed)],
      ], survivors: [true, true, false]),
  ]

  /// Programs that store what they load, with any order. The reference is plain search, which the
  /// test above compares with brute force.
  @Test(arguments: 0..<shards)
  func reductionsFindAllThatPlainSearchFinds(_ shard: Int) {
    programs(.copies, shard) { seed, program in
      let (expected, reference) = program.left([])
      for reduction in reductions.dropFirst() {
        let (found, report) = program.left(reduction)
        #expect(report.failure?.kind == reference.failure?.kind, "seed \(seed): \(program)")
        if reference.failure == nil {
          #expect(found == expected, "seed \(seed), \(reduction): \(program)")
        }
      }
      return reference.failure == nil
    }
  }

  /// With a bound, recovery finds a part, and all with a bound that no execution reaches.
  @Test(arguments: 0..<shards)
  func aBoundFindsAPart(_ shard: Int) {
    var grew = 0
    programs(.sequential, shard) { seed, program in
      let (all, report) = program.left([.sleepSets, .stateCache])
      guard report.failure == nil else { return false }
      // Stores that are taken back need no preemption, so in few programs a bound makes a difference.
      let reduction = seed / Self.shards % 2 == 0 ? .stateCache : reductions.last!
      var last: Set<CrashProgram.Left> = []
      for bound in [0, 1, 8] {
        let (found, report) = program.left(reduction, preemptions: bound)
        guard case .bounded(bound) = report.verdict else {
          Issue.record("\(report)")
          return true
        }
        #expect(last.isSubset(of: found) && found.isSubset(of: all), "seed \(seed): \(program)")
        if bound > 0 && last.count < found.count { grew += 1 }
        last = found
      }
      #expect(last == all, "seed \(seed): \(program)")
      return true
    }
    #expect(grew > 0, "bounds made no difference to these programs")
  }
}

private let isOptimized: Bool = {
  var optimized = true
  assert(
    {
      optimized = false
      return true
    }())
  return optimized
}()

import Interleave
import Testing

/// A thread that learns only a part of what it reads: random programs must have the results of the same
/// programs with whole values, with only that part kept.
@Suite struct LearningTests {
  static let programs = 200

  /// Programs with two states that differ in nothing but what a thread has learnt. From both, the other
  /// thread has several ways to go on.
  static let lookalikes = [
    Program(threads: [
      [.add(.x, .relaxed), .load(.x, .relaxed), .store(.y, 1, .relaxed), .store(.y, 2, .relaxed)],
      [.add(.x, .relaxed), .load(.x, .relaxed), .await(.y, .relaxed), .load(.y, .relaxed)],
    ]),
    Program(threads: [
      [.load(.x, .relaxed), .load(.x, .relaxed), .store(.y, 1, .relaxed), .store(.y, 2, .relaxed)],
      [.store(.x, 1, .relaxed), .await(.y, .relaxed), .load(.y, .relaxed)],
    ]),
  ].flatMap(\.reorderings)

  /// What the threads keep.
  enum Kept: CaseIterable {
    /// Of each load and each addition, whether the value was 1.
    case whetherOne
    /// Of each two results, whether they were the same.
    case whetherSame
  }

  @Test(arguments: Kept.allCases)
  func partsAreThoseOfWholeValues(_ kept: Kept) {
    var compared = 0, states = (whole: 0, part: 0)
    for seed in -Self.lookalikes.count..<Self.programs {
      var generator = SeededGenerator(seed: UInt64(seed + 30_000))
      let program = seed < 0 ? Self.lookalikes[-1 - seed] : Program(using: &generator)
      let (whole, report) = outcomes([], program.litmus)
      guard report.isComplete else { continue }
      let expected = Set(whole.map { program.reduce($0, kept) })
      for reduction in reductions {
        let (found, report) = outcomes(reduction, program.litmus(keeping: kept))
        #expect(report.isComplete && found == expected, "seed \(seed), \(reduction): \(program)")
        if reduction == reductions.last { states.part += report.states }
      }
      states.whole += outcomes(reductions.last!, program.litmus).1.states
      compared += 1
    }
    #expect(compared > Self.programs / 2)
    #expect(states.part < states.whole, "nothing was gained")
  }

  /// A thread inside of a section must not have the same history as one that has left it.
  @Test func aResultIsNoValueThatWasRead() {
    let report = Checker().run { scenario in
      let word = ModelWord(1)
      scenario.thread("reader") {
        _ = keepingOnlyResult({ $0 }) {
          _ = word.load(.relaxed)
          _ = word.load(.relaxed)
          return UInt64(1)
        }
        word.store(2, .relaxed)
      }
      scenario.thread("other") { _ = word.load(.relaxed) }
    }
    #expect(report.isComplete, "\(report)")
  }
}

extension Program {
  /// The program with threads that keep only a part of what they read.
  fileprivate func litmus(keeping kept: LearningTests.Kept) -> Litmus {
    { words, registers in
      threads.enumerated().map { thread, steps in
        {
          var register = thread * Self.registersPerThread
          var rest = steps[...]
          /// Runs steps up to the next one with a result.
          func next() -> UInt64? {
            while let step = rest.popFirst() {
              let result =
                kept == .whetherOne ? Self.runAndTest(step, words) : Self.run(step, words)
              if !step.isSilent { return result }
            }
            return nil
          }
          while !rest.isEmpty {
            if kept == .whetherOne {
              registers[register] = next() ?? 0
              register += 1
            } else {
              registers[register] = keepingOnlyResult({ $0 }) { next() == next() ? 1 : 2 }
              register += 2
            }
          }
        }
      }
    }
  }

  private static func runAndTest(_ step: Step, _ words: Words) -> UInt64 {
    switch step {
    case .load(let at, let order): words.with(at) { $0.test(order) { $0 == 1 } } ? 1 : 0
    case .add(let at, let order): words.with(at) { $0.addAndTest(1, order) { $0 == 1 } } ? 1 : 0
    default: run(step, words)
    }
  }

  /// What the threads keep of whole results.
  fileprivate func reduce(_ whole: [UInt64], _ kept: LearningTests.Kept) -> [UInt64] {
    var reduced = whole
    for (thread, steps) in threads.enumerated() {
      let first = thread * Self.registersPerThread
      let results = steps.filter { !$0.isSilent }
      for (index, step) in results.enumerated() {
        let register = first + index
        switch kept {
        case .whetherOne:
          switch step {
          case .load, .add: reduced[register] = whole[register] == 1 ? 1 : 0
          default: break
          }
        case .whetherSame:
          let hasNext = index + 1 < results.count
          reduced[register] =
            index % 2 == 1 ? 0 : hasNext && whole[register] == whole[register + 1] ? 1 : 2
        }
      }
      // Silent steps at the end make one more section, whose results are both none.
      if kept == .whetherSame, results.count % 2 == 0, steps.last?.isSilent == true {
        reduced[first + results.count] = 1
      }
    }
    return reduced
  }
}

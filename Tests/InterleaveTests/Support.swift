import Interleave

/// The values that the threads of a litmus test read, by register.
final class Registers {
  var values = [UInt64](repeating: 0, count: 16)
  /// Set while a shape is printed and not run.
  private let recorder: Recorder?
  init(_ recorder: Recorder? = nil) { self.recorder = recorder }

  subscript(index: Int) -> UInt64 {
    get { values[index] }
    set {
      values[index] = newValue
      recorder?.keep(newValue, in: index)
    }
  }
}

/// Three locations, initially 0.
final class Words: Sendable {
  let x = ModelWord(0, name: "x"), y = ModelWord(0, name: "y"), z = ModelWord(0, name: "z")
}

typealias Litmus = (Words, Registers) -> [() -> Void]

/// The reductions of the search, whose results must agree.
let reductions: [Checker.Reduction] = [
  [], .sleepSets, .stateCache, [.sleepSets, .stateCache], .quietLocations,
  [.sleepSets, .quietLocations], [.sleepSets, .stateCache, .quietLocations],
]

/// All results of a program. Registers 14 and 15 hold the final values of x and y. `first` is the
/// index of the first of its locations; those before are not used.
func outcomes(
  _ reduction: Checker.Reduction, _ litmus: Litmus, preemptions: Int? = nil, first: Int = 0
) -> (Set<[UInt64]>, Report) {
  var options = Checker.Options()
  options.reduction = reduction
  options.preemptionBound = preemptions
  options.shortensTrace = false
  var results: Set<[UInt64]> = []
  let report = Checker(options).run { scenario in
    for _ in 0..<first { _ = ModelWord(0) }
    let registers = Registers(), words = Words()
    // A word that the set-up stores to is not at its first store when it gets a lane.
    if first > 0 {
      words.x.store(1, .relaxed)
      words.x.store(0, .relaxed)
    }
    for (index, thread) in litmus(words, registers).enumerated() {
      scenario.thread("T\(index + 1)", thread)
    }
    scenario.finally {
      registers[14] = words.x.load(.relaxed)
      registers[15] = words.y.load(.relaxed)
      results.insert(registers.values)
    }
  }
  return (results, report)
}

/// Repeatable random numbers (xorshift).
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }
  mutating func next() -> UInt64 {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return state &* 0x2545_F491_4F6C_DD1D
  }
}

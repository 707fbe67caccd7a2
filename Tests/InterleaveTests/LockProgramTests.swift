import Interleave
import Testing

/// Random programs with the ingredients of an engine's model: locks that threads wait for and hand
/// over, variables outside of the model under these locks, words that are mostly used under a lock,
/// and fences on every thread. Every reduction, including quiet locations, finds what plain search
/// finds.
@Suite struct LockProgramTests {
  /// Fewer without an optimizer, which makes them thirty times as fast.
  static let programs = _isDebugAssertConfiguration() ? 40 : 400
  static let shards = 4

  @Test(arguments: 0..<shards)
  func reductionsAgree(_ shard: Int) {
    for seed in stride(from: shard, to: Self.programs, by: Self.shards) {
      var generator = SeededGenerator(seed: UInt64(seed + 20_000))
      let program = LockProgram(using: &generator)
      let (expected, plain) = outcomes([], program.litmus)
      #expect(plain.isComplete, "seed \(seed): \(program): \(plain)")
      for reduction in reductions.dropFirst() {
        let (found, report) = outcomes(reduction, program.litmus)
        #expect(report.isComplete, "seed \(seed), \(reduction): \(program): \(report)")
        #expect(found == expected, "seed \(seed), \(reduction): \(program)")
      }
    }
  }
}

/// Two threads of three steps, or three threads of two. A locked section is one step.
private struct LockProgram: CustomStringConvertible {
  indirect enum Step {
    case load(Int, MemoryOrder), store(Int, UInt64, MemoryOrder), processFence
    /// An exchange with the variable that the lock guards. Occurs only under the lock.
    case exchange(UInt64)
    case locked(Int, [Step])
  }
  var threads: [[Step]] = []

  init(using generator: inout SeededGenerator) {
    let count = Int.random(in: 2...3, using: &generator)
    var value: UInt64 = 0
    for _ in 0..<count {
      threads.append((0..<5 - count).map { _ in Self.step(&value, using: &generator) })
    }
  }

  static func step(_ value: inout UInt64, using generator: inout SeededGenerator) -> Step {
    switch Int.random(in: 0..<10, using: &generator) {
    case 0..<2: return .processFence
    case 2..<6:
      let length = Int.random(in: 1...2, using: &generator)
      let lock = Int.random(in: 0..<2, using: &generator)
      let steps = (0..<length).map { _ in
        Bool.random(using: &generator)
          ? access(&value, location: lock, using: &generator) : exchange(&value)
      }
      return .locked(lock, steps)
    default:
      let location = Int.random(in: 0..<2, using: &generator)
      return access(&value, location: location, using: &generator)
    }
  }

  static func exchange(_ value: inout UInt64) -> Step {
    value += 1
    return .exchange(value)
  }

  static func access(
    _ value: inout UInt64, location: Int, using generator: inout SeededGenerator
  ) -> Step {
    value += 1
    let isStrong = Bool.random(using: &generator)
    return Bool.random(using: &generator)
      ? .load(location, isStrong ? .acquire : .relaxed)
      : .store(location, value, isStrong ? .release : .relaxed)
  }

  /// A lock and the variable that it guards.
  final class Guarded {
    let lock = ModelLock(name: "lock")
    var value: UInt64 = 0
    init() { lock.guards { [unowned self] in value } }
  }

  var litmus: Litmus {
    { words, registers in
      let locks = [Guarded(), Guarded()]
      let room = 12 / threads.count
      return threads.enumerated().map { thread, steps in
        {
          var register = thread * room
          for step in steps { Self.run(step, words, locks, nil, registers, &register) }
        }
      }
    }
  }

  private static func run(
    _ step: Step, _ words: Words, _ locks: [Guarded], _ held: Guarded?, _ registers: Registers,
    _ register: inout Int
  ) {
    switch step {
    case .load(let location, let order):
      registers[register] = location == 0 ? words.x.load(order) : words.y.load(order)
      register += 1
    case .store(let location, let value, let order):
      if location == 0 { words.x.store(value, order) } else { words.y.store(value, order) }
    case .processFence: processFence()
    case .exchange(let value):
      registers[register] = held!.value
      register += 1
      held!.value = value
    case .locked(let index, let steps):
      locks[index].lock.lock()
      for step in steps { run(step, words, locks, locks[index], registers, &register) }
      locks[index].lock.unlock()
    }
  }

  var description: String {
    threads.map { $0.map { "\($0)" }.joined(separator: "; ") }.joined(separator: " ‖ ")
  }
}

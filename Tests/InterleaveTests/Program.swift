import Interleave

/// A litmus test as data, so that it can be made at random, changed, and run by something other
/// than the checker. It has two or more threads of a few steps on three locations.
///
/// There are few values, so that two stores often write the same one. Only then can two states
/// agree in everything that the threads have read and differ in what they may read next. A hash
/// must tell such states apart.
struct Program: CustomStringConvertible, Sendable {
  enum Location: Int, CaseIterable { case x, y, z }

  enum Step {
    case load(Location, MemoryOrder), store(Location, UInt64, MemoryOrder)
    case add(Location, MemoryOrder), compareExchange(Location, UInt64, MemoryOrder)
    case fence(MemoryOrder)
    /// Waits until the location is not 0.
    case await(Location, MemoryOrder)
    /// Waits until x, by relaxed loads, or y is not 0. The result has both values, and whether it
    /// waited.
    case awaitEither(MemoryOrder)
    /// Waits until x is 2, by relaxed loads, and also reads y. The result has the values of every
    /// turn.
    case watch(MemoryOrder)
  }
  var threads: [[Step]]

  /// The most steps of a thread that have a result.
  static let registersPerThread = 4

  var litmus: Litmus {
    { words, registers in
      threads.enumerated().map { thread, steps in
        {
          var register = thread * Self.registersPerThread
          for step in steps {
            let result = Self.run(step, words)
            if step.isSilent { continue }
            registers[register] = result
            register += 1
          }
        }
      }
    }
  }

  static func run(_ step: Step, _ words: Words) -> UInt64 {
    switch step {
    case .load(let at, let order): return words.with(at) { $0.load(order) }
    case .store(let at, let value, let order):
      words.with(at) { $0.store(value, order) }
      return 0
    case .add(let at, let order): return words.with(at) { $0.add(1, order) }
    case .compareExchange(let at, let value, let order):
      return words.with(at) { $0.compareExchange(0, value, order).original }
    case .fence(let order):
      ModelWord.fence(order)
      return 0
    case .await(let at, let order):
      while true {
        let value = words.with(at) { $0.load(order) }
        if value != 0 { return value }
        pause()
      }
    case .awaitEither(let order):
      var hasWaited: UInt64 = 0
      while true {
        let x = words.x.load(.relaxed), y = words.y.load(order)
        if x != 0 || y != 0 { return hasWaited << 8 | x << 4 | y }
        hasWaited = 1
        pause()
      }
    case .watch(let order):
      var turns: UInt64 = 1
      while true {
        let x = words.x.load(.relaxed), y = words.y.load(order)
        turns = turns << 4 | x << 2 | y
        if x == 2 { return turns }
        pause()
      }
    }
  }

  var description: String {
    threads.map { $0.map { "\($0)" }.joined(separator: "; ") }.joined(separator: " ‖ ")
  }
}

extension Program.Step {
  /// Whether the step has no result.
  var isSilent: Bool {
    switch self {
    case .store, .fence: true
    default: false
    }
  }
}

extension Words {
  func with<Result>(
    _ location: Program.Location, _ body: (borrowing ModelWord) -> Result
  ) -> Result {
    switch location {
    case .x: body(x)
    case .y: body(y)
    case .z: body(z)
    }
  }
}

// MARK: - Random programs

extension Program {
  private static let loads: [MemoryOrder] = [.relaxed, .acquire, .sequential]
  private static let stores: [MemoryOrder] = [.relaxed, .release, .sequential]
  private static let all: [MemoryOrder] = [
    .relaxed, .acquire, .release, .acquireRelease, .sequential,
  ]

  /// Two or three threads of any steps on x and y.
  init(using generator: inout SeededGenerator) {
    let count = generator.chance(1, in: 3) ? 3 : 2
    threads = (0..<count).map { _ in
      let length = count == 2 ? Int.random(in: 2...3, using: &generator) : 2
      return (0..<length).map { _ in Self.step(using: &generator) }
    }
  }

  /// Three threads of three steps, most of them sequential. Only in such programs can a result
  /// depend on the order of two loads or two fences.
  init(sequentialUsing generator: inout SeededGenerator) {
    threads = (0..<3).map { _ in
      (0..<3).map { _ in
        let at = location(using: &generator)
        let order: MemoryOrder = generator.chance(2, in: 3) ? .sequential : .relaxed
        switch Int.random(in: 0..<12, using: &generator) {
        case 0..<5: return .load(at, order)
        case 5..<9: return .store(at, generator.pick([1, 2]), order)
        case 9..<11: return .fence(.sequential)
        default: return .await(at, order)
        }
      }
    }
  }

  /// The program with its threads in every order. The order matters because the search prefers the
  /// first.
  var reorderings: [Program] {
    guard threads.count > 1 else { return [self] }
    return threads.indices.flatMap { first in
      var others = threads
      let thread = others.remove(at: first)
      return Program(threads: others).reorderings.map { Program(threads: [thread] + $0.threads) }
    }
  }

  /// A similar program: its threads are in a random order, and some steps are left out, replaced,
  /// or done with another memory order.
  func neighbour(using generator: inout SeededGenerator) -> Program {
    var neighbour = Program(threads: threads.shuffled(using: &generator))
    for _ in 0..<Int.random(in: 0...2, using: &generator) {
      let thread = Int.random(in: 0..<threads.count, using: &generator)
      guard !neighbour.threads[thread].isEmpty else { continue }
      let index = neighbour.threads[thread].indices.randomElement(using: &generator)!
      switch Int.random(in: 0..<6, using: &generator) {
      case 0: neighbour.threads[thread].remove(at: index)
      case 1: neighbour.threads[thread][index] = Self.step(using: &generator)
      default: neighbour.threads[thread][index].reorder(using: &generator)
      }
    }
    return neighbour
  }

  private static func step(using generator: inout SeededGenerator) -> Step {
    let at = location(using: &generator)
    switch Int.random(in: 0..<20, using: &generator) {
    case 0..<7: return .load(at, generator.pick(loads))
    case 7..<13: return .store(at, generator.pick([1, 2]), generator.pick(stores))
    case 13..<15: return .add(at, generator.pick(all))
    case 15..<17: return .compareExchange(at, generator.pick([1, 2]), generator.pick(all))
    case 17..<19: return .fence(generator.pick(Array(all.dropFirst())))
    default: return .await(at, generator.pick(loads))
    }
  }
}

private func location(using generator: inout SeededGenerator) -> Program.Location {
  generator.pick([.x, .y])
}

extension Program.Step {
  fileprivate mutating func reorder(using generator: inout SeededGenerator) {
    let loads: [MemoryOrder] = [.relaxed, .acquire, .sequential]
    let stores: [MemoryOrder] = [.relaxed, .release, .sequential]
    let all: [MemoryOrder] = [.acquire, .release, .acquireRelease, .sequential]
    switch self {
    case .load(let at, _): self = .load(at, generator.pick(loads))
    case .store(let at, let value, _): self = .store(at, value, generator.pick(stores))
    case .add(let at, _): self = .add(at, generator.pick(all))
    case .compareExchange(let at, let value, _):
      self = .compareExchange(at, value, generator.pick(all))
    case .fence: self = .fence(generator.pick(all))
    case .await(let at, _): self = .await(at, generator.pick(loads))
    case .awaitEither: self = .awaitEither(generator.pick(loads))
    case .watch: self = .watch(generator.pick(loads))
    }
  }
}

extension SeededGenerator {
  mutating func pick<Element>(_ choices: [Element]) -> Element {
    choices[Int.random(in: choices.indices, using: &self)]
  }
  mutating func chance(_ part: Int, in whole: Int) -> Bool {
    Int.random(in: 0..<whole, using: &self) < part
  }
}

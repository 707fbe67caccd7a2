import Interleave

/// A small program on memory that survives a crash and memory that does not, as data. The checker
/// runs it, and so does a reference that shares no code with the checker.
struct CrashProgram: CustomStringConvertible, Sendable {
  static let words = 3
  static let cells = 2

  enum Step {
    case store(Int, UInt64, MemoryOrder), add(Int, MemoryOrder)
    case compareExchange(Int, from: UInt64, to: UInt64, MemoryOrder)
    /// Stores into one word what a load of another returns.
    case copy(Int, to: Int, MemoryOrder)
    case write(cell: Int, UInt64)
    case fence(MemoryOrder), processFence
    /// Waits until the word is not 0.
    case await(Int, MemoryOrder)
    case lock, unlock
  }

  var threads: [[Step]]
  /// Which words survive. All cells do.
  var survivors: [Bool]

  /// What a crash leaves: the values of the surviving words, and of the cells.
  typealias Left = [UInt64]

  var description: String {
    threads.map { $0.map { "\($0)" }.joined(separator: "; ") }.joined(separator: " ‖ ")
      + ", survivors \(survivors)"
  }

  // MARK: By the checker

  private final class Memory: Sendable {
    let x: ModelWord, y: ModelWord, z: ModelWord
    let cells: [ModelCell]
    let lock = ModelLock()

    init(_ survivors: [Bool]) {
      func word(_ index: Int, _ name: String) -> ModelWord {
        survivors[index] ? surviving { ModelWord(0, name: name) } : ModelWord(0, name: name)
      }
      x = word(0, "x")
      y = word(1, "y")
      z = word(2, "z")
      cells = surviving { (0..<CrashProgram.cells).map { ModelCell(0, name: "cell \($0)") } }
    }

    func with<Result>(_ word: Int, _ body: (borrowing ModelWord) -> Result) -> Result {
      switch word {
      case 0: body(x)
      case 1: body(y)
      default: body(z)
      }
    }
  }

  /// All that a crash can leave, as recovery finds it.
  func left(
    _ reduction: Checker.Reduction, preemptions: Int? = nil, first: Int = 0
  ) -> (left: Set<Left>, report: Report) {
    var options = Checker.Options()
    options.reduction = reduction
    options.preemptionBound = preemptions
    options.shortensTrace = false
    var left: Set<Left> = []
    let report = Checker(options).run(scenario(first: first) { left.insert($0) })
    return (left, report)
  }

  /// Runs the program. Calls `recover` with what each crash leaves.
  func scenario(first: Int = 0, recover: @escaping (Left) -> Void) -> (Scenario) -> Void {
    { scenario in
      for _ in 0..<first { _ = ModelWord(0) }
      let memory = Memory(survivors)
      for (index, steps) in threads.enumerated() {
        scenario.thread("T\(index + 1)") { for step in steps { Self.run(step, memory) } }
      }
      scenario.afterCrash {
        var found: Left = []
        for word in 0..<Self.words where survivors[word] {
          found.append(memory.with(word) { $0.load(.relaxed) })
        }
        recover(found + memory.cells.map { $0.load() })
      }
    }
  }

  private static func run(_ step: Step, _ memory: Memory) {
    switch step {
    case .store(let at, let value, let order): memory.with(at) { $0.store(value, order) }
    case .add(let at, let order): memory.with(at) { _ = $0.add(1, order) }
    case .compareExchange(let at, let from, let to, let order):
      memory.with(at) { _ = $0.compareExchange(from, to, order) }
    case .copy(let from, let to, let order):
      let value = memory.with(from) { $0.load(order) }
      memory.with(to) { $0.store(value, order == .sequential ? .sequential : .relaxed) }
    case .write(let cell, let value): memory.cells[cell].store(value)
    case .fence(let order): ModelWord.fence(order)
    case .processFence: processFence()
    case .await(let at, let order):
      while memory.with(at, { $0.load(order) }) == 0 { pause() }
    case .lock: memory.lock.lock()
    case .unlock: memory.lock.unlock()
    }
  }
}

// MARK: - Random programs

extension CrashProgram {
  private static let stores: [MemoryOrder] = [.relaxed, .release, .sequential]
  private static let all: [MemoryOrder] = [
    .relaxed, .acquire, .release, .acquireRelease, .sequential,
  ]

  enum Flavour: CaseIterable {
    /// Steps of any order, none of which depends on what a load returns.
    case anyOrder
    /// Sequential steps, which may depend on loads.
    case sequential
    /// Steps of any order, which may depend on loads. The reference does not know these.
    case copies
  }

  /// Two or three threads. A thread writes a cell of its own or, after a handshake, another's.
  init(_ flavour: Flavour, using generator: inout SeededGenerator) {
    let count = generator.chance(1, in: 4) ? 3 : 2
    threads = (0..<count).map { thread in
      var steps: [Step] = []
      for _ in 0..<(count == 2 ? Int.random(in: 2...4, using: &generator) : 2) {
        steps.append(Self.step(flavour, thread, using: &generator))
      }
      if generator.chance(1, in: 4) {
        steps.insert(.lock, at: Int.random(in: 0...steps.count, using: &generator))
        steps.append(.unlock)
      }
      return steps
    }
    survivors = (0..<Self.words).map { _ in generator.chance(2, in: 3) }
  }

  private static func step(
    _ flavour: Flavour, _ thread: Int, using generator: inout SeededGenerator
  ) -> Step {
    let at = Int.random(in: 0..<words, using: &generator)
    let value: UInt64 = generator.pick([1, 2])
    let isSequential = flavour == .sequential
    let order: MemoryOrder = isSequential ? .sequential : generator.pick(stores)
    switch Int.random(in: 0..<20, using: &generator) {
    case 0..<6: return .store(at, value, order)
    case 6..<8: return .add(at, isSequential ? .sequential : generator.pick(all))
    case 8..<13:
      let cell = generator.chance(3, in: 4) ? thread : 0
      return .write(cell: cell % cells, value)
    case 13..<14:
      if generator.chance(1, in: 3) { return .processFence }
      return .fence(isSequential ? .sequential : generator.pick(Array(all.dropFirst())))
    case 14..<16: return .await(at, isSequential ? .sequential : .acquire)
    default:
      if flavour == .anyOrder { return .store(at, value, order) }
      let to = (at + 1) % words
      if generator.chance(1, in: 2) {
        return .compareExchange(at, from: generator.pick([0, 1]), to: 2, order)
      }
      return .copy(at, to: to, isSequential ? .sequential : generator.pick([.relaxed, .acquire]))
    }
  }
}

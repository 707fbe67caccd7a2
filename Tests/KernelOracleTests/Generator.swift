import CKernelOracle

/// Makes random programs that often use the interesting places: the same few slots, their first and
/// last pages, whole slots, and pairs of slots.
struct Generator {
  private var random: Random
  private var live: Set<Int> = [0]
  private var stamp: UInt64 = 0

  init(seed: UInt64) { random = Random(seed: seed) }

  mutating func program(steps count: Int) -> [Step] {
    var steps = [Step(operation: .map), Step(operation: .advise(KO_HUGE))]
    for index in steps.indices { steps[index].count = KO_PAGES }
    while steps.count < count { steps.append(step()) }
    return steps
  }

  private mutating func step() -> Step {
    let process = live.sorted().randomElement(using: &random)!
    var step = Step(operation: operation(), process: process)
    switch step.operation {
    case .fork:
      let free = (0..<KO_PROCESSES).filter { !live.contains($0) }
      guard let child = free.first else {
        step.operation = .read
        place(&step)
        return step
      }
      step.target = child
      live.insert(child)
    case .exit:
      guard live.count > 1 else {
        step.operation = .write
        place(&step)
        return step
      }
      live.remove(process)
    case .read, .write: place(&step)
    case .advise(KO_COLLAPSE): whole(&step)
    case .move:
      range(&step)
      step.target = target(for: step)
    default: range(&step)
    }
    return step
  }

  private mutating func operation() -> Step.Operation {
    switch random.below(100) {
    case 0..<22: .read
    case 22..<48: .write
    case 48..<60: .advise(KO_DISCARD)
    case 60..<69: .protect([KO_NONE, KO_READ_ONLY, KO_READ_WRITE].randomElement(using: &random)!)
    case 69..<72: .map
    case 72..<75: .unmap
    case 75..<79: .advise(KO_HUGE)
    case 79..<81: .advise(KO_NO_HUGE)
    case 81..<86: .move
    case 86..<90: .advise(KO_COLLAPSE)
    case 90..<92: .advise(KO_POPULATE_READ)
    case 92..<94: .advise(KO_POPULATE_WRITE)
    case 94..<97: .fork
    default: .exit
    }
  }

  private mutating func slot() -> Int { [0, 0, 0, 1, 1, 2, 3].randomElement(using: &random)! }

  private mutating func page() -> Int {
    slot() * 512 + [0, 0, 1, 7, 255, 510, 511, random.below(512)].randomElement(using: &random)!
  }

  private mutating func place(_ step: inout Step) {
    step.first = page()
    step.count = 1
    step.word = random.below(KO_WORDS)
    if step.operation == .write {
      stamp += 1
      step.stamp = stamp
    }
  }

  private mutating func whole(_ step: inout Step) {
    step.first = slot() * 512
    step.count = 512 * (random.below(8) == 0 && step.first <= 1024 ? 2 : 1)
  }

  private mutating func range(_ step: inout Step) {
    switch random.below(10) {
    case 0..<4: whole(&step)
    case 4..<7:
      step.first = page()
      step.count = 1
    default:
      step.first = page()
      step.count = [2, 3, 8, 256, 511, 512, 1 + random.below(600)].randomElement(using: &random)!
    }
    step.count = min(step.count, KO_PAGES - step.first)
  }

  /// The target of a move. It mostly has the same offset in its slot, and never overlaps the
  /// source.
  private mutating func target(for step: Step) -> Int {
    let room = KO_PAGES - step.count
    for _ in 0..<20 {
      let target = random.below(3) > 0 ? slot() * 512 + step.first % 512 : page()
      if target <= room, target + step.count <= step.first || step.first + step.count <= target {
        return target
      }
    }
    return step.first < room / 2 ? room : 0
  }
}

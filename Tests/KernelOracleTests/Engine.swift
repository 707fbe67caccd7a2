import CKernelOracle
import Frames
import Paging

@testable import HugeMemory

/// Runs programs on the engine. A process is an address space.
struct Engine: Subject {
  let machine: Machine
  private var spaces: [Int: AddressSpace] = [:]
  private var views: [Int: View] = [:]

  init(_ policy: Policy, limit: UInt64 = 256 << 20) throws {
    machine = try Machine(limit: limit, policy: policy, background: .none)
  }

  mutating func run(_ program: [Step]) throws -> [Observation] {
    try begin()
    defer { end() }
    return program.map { perform($0) }
  }

  mutating func begin() throws {
    let size = UInt64(KO_PAGES) * 4096
    let space = try machine.makeSpace(size: size)
    try space.unmap(at: 0, length: size)
    spaces = [0: space]
    views = [0: View()]
  }

  mutating func end() {
    spaces = [:]
    views = [:]
  }

  mutating func perform(_ step: Step) -> Observation {
    var value: UInt64 = 0
    var outcome = Outcome.ok
    do throws(MemoryError) {
      guard let space = spaces[step.process] else { return observe(.noProcess) }
      let (offset, length) = (UInt64(step.first) << 12, UInt64(step.count) << 12)
      let word = offset + UInt64(step.word) * UInt64(KO_WORD_STRIDE)
      switch step.operation {
      case .map: try space.map(at: offset, length: length)
      case .unmap: try space.unmap(at: offset, length: length)
      case .read: value = try space.load(at: word)
      case .write: try space.store(step.stamp, at: word)
      case .move:
        try space.move(from: offset, to: UInt64(step.target) << 12, length: length)
      case .fork:
        guard spaces[step.target] == nil else { return observe(.noProcess) }
        spaces[step.target] = try space.fork()
        views[step.target] = View()
        views[step.target]!.look(spaces[step.target]!, Set(0..<Int(KO_SLOTS)))
      case .exit:
        spaces[step.process] = nil
        views[step.process] = nil
      case .protect(let protection):
        let allowed: [Protection] = [[], .read, [.read, .write]]
        try space.protect(at: offset, length: length, allowed[Int(protection.rawValue)])
      case .advise(let advice):
        let kinds: [Advice] = [
          .huge, .noHuge, .discard, .collapse, .populateRead, .populateWrite,
        ]
        try space.advise(at: offset, length: length, kinds[Int(advice.rawValue)])
      }
    } catch {
      outcome = Self.outcome(error)
    }
    // Drop references that wait for a grace period now and not later: whether a page is shared
    // decides what the next write does.
    machine.settle()
    if let space = spaces[step.process] { views[step.process]!.look(space, step.slots) }
    return observe(outcome, value)
  }

  private func observe(_ outcome: Outcome, _ value: UInt64 = 0) -> Observation {
    Observation(outcome: outcome, value: value, views: views.mapValues(\.runs))
  }

  private static func outcome(_ error: MemoryError) -> Outcome {
    switch error {
    case .notMapped: .notMapped
    case .accessDenied: .denied
    case .notCollapsible: .notCollapsible
    case .overlappingMove: .overlap
    case .outOfMemory: .noMemory
    default: .other(-1)
    }
  }
}

/// What a space maps, slot by slot. Only slots that a step may have changed are looked at again.
private struct View {
  private var slots = [[Run]](repeating: [], count: KO_SLOTS)
  private(set) var runs: [Run] = []

  /// Reads entries and contents without a fault. Nothing else runs at the same time.
  mutating func look(_ space: AddressSpace, _ changed: Set<Int>) {
    for index in changed { slots[index] = Self.slot(space, index) }
    runs = []
    for slot in slots {
      for run in slot { Self.append(run, &runs) }
    }
  }

  private static func slot(_ space: AddressSpace, _ index: Int) -> [Run] {
    var runs: [Run] = []
    let entry = space.slot(UInt64(index) << 21).entry
    guard entry.kind != .none else { return [] }
    for page in 0..<512 {
      let small =
        entry.kind == .table ? Table(entry.frame, in: space.arena)[page] : entry
      var state = UInt32(KO_PRESENT) | (entry.kind == .table ? 0 : UInt32(KO_IS_HUGE))
      var digest: UInt64 = 0
      switch small.kind {
      case .none, .table: continue
      case .zero: state |= UInt32(KO_ZERO)
      case .small, .huge:
        let frame = small.kind == .huge ? small.frame + FrameNumber(page) : small.frame
        digest = small.isHidden ? UInt64.max : unsafe ko_digest(space.arena.address(frame), 0)
      }
      append(Run(first: index * 512 + page, count: 1, state: state, digest: digest), &runs)
    }
    return runs
  }

  private static func append(_ run: Run, _ runs: inout [Run]) {
    if let last = runs.last, last.first + last.count == run.first, last.state == run.state,
      last.digest == run.digest
    {
      runs[runs.count - 1].count += run.count
    } else {
      runs.append(run)
    }
  }
}

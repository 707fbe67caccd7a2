/// What the module `InterleaveSynchronization` is made of. It is for that module alone.
package enum StandIn {
  /// Ends the program with a clear message if no checker runs.
  static func explorer(for what: String, _ site: Site) -> Explorer {
    guard let explorer = Explorer.currentIfAny else {
      fatalError(
        """
        Interleave: \(what) at \(site.description) is used outside of Checker.run. This target is \
        compiled against InterleaveSynchronization, whose types exist only in a scenario, on the \
        thread that runs the checker. To run the code itself, use the target that imports \
        Synchronization
        """)
    }
    return explorer
  }

  /// The explorer, for a new object of the model. Only the set-up may make one.
  static func explorer(forNew what: String, _ site: Site) -> Explorer {
    let explorer = explorer(for: what, site)
    guard explorer.isSealed, !explorer.crash.isRecovering else { return explorer }
    let message =
      "\(what) is made at \(site.description), after the set-up: make everything that a scenario "
      + "uses in its closure, before the threads start"
    explorer.fail(.trap, message)
    fatalError("Interleave: \(message)")
  }

  package static func fence(_ order: MemoryOrder, _ site: Site) {
    explorer(for: "a fence", site).fence(order, site)
  }

  package static func pause(_ site: Site) { explorer(for: "a spin loop", site).pause(site) }

  package static func code(ofWide value: UInt128) -> UInt64 {
    Explorer.current.codes.code(ofWide: value)
  }
  package static func wide(_ code: UInt64) -> UInt128 { Explorer.current.codes.wide(code) }

  package static func code(ofAddress address: UInt) -> UInt64 {
    Explorer.current.code(ofAddress: address)
  }
  package static func address(_ code: UInt64) -> UInt { Explorer.current.codes.address(code) }
  package static func describe(address code: UInt64) -> String {
    Explorer.current.describe(address: code)
  }

  /// A code that the running thread has not used yet, for an object that it makes.
  package static func freshCode() -> UInt64 {
    let explorer = Explorer.current
    return explorer.codes.freshCode(by: explorer.running)
  }
}

/// The word of an atomic. Its values are codes (`Codes`).
package struct StandInWord: ~Copyable, Sendable {
  private let location: Int
  private let execution: UInt64

  /// `type` is for traces. `format` shows a code.
  package init(
    _ code: UInt64, _ type: @autoclosure () -> String, _ site: Site,
    _ format: @escaping (UInt64) -> String
  ) {
    let explorer = StandIn.explorer(forNew: "an atomic", site)
    location = explorer.addLocation(code, name: nil, site)
    execution = explorer.owner
    explorer.introduce(location, "\(type()), \(format(code))", site, format)
  }

  /// Call this before making codes, so that a use outside of a scenario is explained.
  package static func prepare(_ site: Site) { _ = StandIn.explorer(for: "an atomic", site) }

  private func explorer(_ site: Site) -> Explorer {
    let explorer = StandIn.explorer(for: "an atomic", site)
    explorer.verify(
      execution, "an atomic", site, survives: explorer.survives(word: location))
    return explorer
  }

  package func load(_ order: MemoryOrder, _ site: Site) -> UInt64 {
    explorer(site).load(location, order, site)
  }

  package func store(_ code: UInt64, _ order: MemoryOrder, _ site: Site) {
    explorer(site).store(location, code, order, site)
  }

  package func modify(
    _ order: MemoryOrder, _ site: Site, _ name: String, operand: UInt64,
    checksOverflow: Bool = false, _ transform: (UInt64) -> UInt64?
  ) -> UInt64 {
    explorer(site).modify(
      location, order, site, name, operand, checksOverflow: checksOverflow, transform)
  }

  package func compareExchange(
    _ expected: UInt64, _ desired: UInt64, _ order: MemoryOrder, failure: MemoryOrder?,
    isWeak: Bool, _ site: Site
  ) -> (exchanged: Bool, original: UInt64) {
    explorer(site).compareExchange(
      location, expected, desired, order, site, failure: failure, isWeak: isWeak)
  }
}

/// Consecutive cells of plain memory.
package struct StandInCells: Sendable {
  private let first: Int
  private let execution: UInt64

  package init(
    _ count: Int, _ type: @autoclosure () -> String, _ site: Site, initially code: UInt64
  ) {
    let explorer = StandIn.explorer(forNew: "plain memory", site)
    if explorer.crash.isMarking {
      explorer.fail(
        .misuse,
        "a PlainArray in surviving memory, at \(site.description): its elements are outside of the "
          + "model, so a crash cannot take back a write. Use a ModelCell")
    }
    first = explorer.plain.cells.count
    execution = explorer.owner
    for index in 0..<count {
      _ = explorer.addCell(code, name: "cell\(first + index)")
    }
    guard explorer.isTracing, count > 0 else { return }
    let cells = count == 1 ? "cell\(first) is" : "cell\(first)…\(first + count - 1) are"
    explorer.note(site, "\(cells) \(type())")
  }

  private func explorer(_ site: Site) -> Explorer {
    let explorer = StandIn.explorer(for: "plain memory", site)
    explorer.verify(
      execution, "plain memory", site)
    return explorer
  }

  package func read(_ index: Int, _ site: Site, shown: () -> String) {
    withoutActuallyEscaping(shown) {
      _ = explorer(site).readCell(first + index, site, shown: $0)
    }
  }

  /// `code` stands for the value. If it is nil, the value is one that follows from what the thread
  /// has seen, so a hash of that stands for it.
  package func write(_ index: Int, _ code: UInt64?, _ site: Site, shown: () -> String) {
    let explorer = explorer(site)
    let code = code ?? mix(explorer.threads[explorer.running].history, UInt64(site.line))
    withoutActuallyEscaping(shown) {
      explorer.writeCell(first + index, code, site, shown: $0)
    }
  }
}

extension Explorer {
  /// Says in a trace what a location is, and remembers how to show its values.
  func introduce(
    _ location: Int, _ what: @autoclosure () -> String, _ site: Site,
    _ format: ((UInt64) -> String)? = nil
  ) {
    guard isTracing else { return }
    formats[location] = format
    note(site, "\(name(location)) is \(what())")
  }
}

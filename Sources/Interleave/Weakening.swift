/// A place where the code under test orders memory.
public struct Ordering: Hashable, Sendable, CustomStringConvertible {
  /// The file's name without its directories.
  public let file: String
  /// The line in the file, from 1.
  public let line: UInt
  /// `load`, `store`, `add`, `compareExchange`, `fence`, `processFence`, or the name of another
  /// method of `Atomic`. For the failure ordering of a compare-and-swap, this is
  /// `compareExchange failure`.
  public let operation: String
  /// The order in the source.
  public let order: MemoryOrder

  public var description: String { "\(file):\(line) \(operation)(\(order))" }

  /// The next weaker orders; empty for `relaxed`.
  public var weakenings: [Weakening] {
    let weaker: [MemoryOrder] =
      switch (operation, order) {
      case (_, .relaxed): []
      case ("load", .sequential), ("compareExchange failure", .sequential),
        ("weakCompareExchange failure", .sequential):
        [.acquire]
      case ("store", .sequential): [.release]
      case ("fence", .sequential), ("processFence", .sequential): [.relaxed]
      case (_, .sequential): [.acquireRelease]
      case (_, .acquireRelease): [.acquire, .release]
      case (_, .acquire), (_, .release): [.relaxed]
      }
    return weaker.map { Weakening(ordering: self, weaker: $0) }
  }
}

/// A planted bug: one ordering of the code under test that is weaker than in the source. The source
/// itself does not change.
public struct Weakening: Hashable, Sendable, CustomStringConvertible {
  /// The place in the source.
  public let ordering: Ordering
  /// The order that runs there instead.
  public let weaker: MemoryOrder
  public var description: String { "\(ordering) → \(weaker)" }
}

extension Checker {
  /// Weakens every ordering in the named files that `scenario` uses, one at a time, and explores
  /// the scenario again for each. If a weakening is not noticed, the ordering is stronger than
  /// necessary, or the scenario is too small to need it.
  public func weaken(
    files: Set<String>, _ scenario: (Scenario) -> Void
  ) -> [(weakening: Weakening, report: Report)] {
    var options = options
    options.recordsOrderings = true
    let orderings = Checker(options).run(scenario).orderings
    options.recordsOrderings = false
    return orderings.filter { files.contains($0.file) }
      .sorted { ($0.file, $0.line) < ($1.file, $1.line) }
      .flatMap(\.weakenings)
      .map { weakening in
        options.weakening = weakening
        return (weakening, Checker(options).run(scenario))
      }
  }
}

extension Explorer {
  /// The order of an access: weaker than in the source if the options say so.
  @inline(__always)
  func weaken(_ order: MemoryOrder, _ site: Site, _ operation: String) -> MemoryOrder {
    if options.recordsOrderings && !crash.isRecovering { note(order, site, operation) }
    guard let weakening = options.weakening, !crash.isRecovering,
      weakening.ordering.line == site.line,
      weakening.ordering == ordering(order, site, operation)
    else { return order }
    return weakening.weaker
  }

  private func note(_ order: MemoryOrder, _ site: Site, _ operation: String) {
    orderings.insert(ordering(order, site, operation))
  }

  private func ordering(_ order: MemoryOrder, _ site: Site, _ operation: String) -> Ordering {
    Ordering(file: site.fileName, line: site.line, operation: operation, order: order)
  }
}

/// One place where the code under test orders memory.
public struct Ordering: Hashable, Sendable, CustomStringConvertible {
  /// The file's name without its folders.
  public let file: String
  public let line: UInt
  /// `load`, `store`, `add`, `compareExchange`, `fence` or `processFence`.
  public let operation: String
  public let order: MemoryOrder

  public var description: String { "\(file):\(line) \(operation)(\(order))" }

  /// The next weaker orders; empty for relaxed.
  public var weakenings: [Weakening] {
    let weaker: [MemoryOrder] =
      switch (operation, order) {
      case (_, .relaxed): []
      case ("load", .sequential): [.acquire]
      case ("store", .sequential): [.release]
      case ("fence", .sequential), ("processFence", .sequential): [.relaxed]
      case (_, .sequential): [.acquireRelease]
      case (_, .acquireRelease): [.acquire, .release]
      case (_, .acquire), (_, .release): [.relaxed]
      }
    return weaker.map { Weakening(ordering: self, weaker: $0) }
  }
}

/// A planted bug: one ordering of the code under test, weaker than its author thought right. The
/// code itself stays as it is.
public struct Weakening: Hashable, Sendable, CustomStringConvertible {
  public let ordering: Ordering
  public let weaker: MemoryOrder
  public var description: String { "\(ordering) → \(weaker)" }
}

extension Checker {
  /// Weakens every ordering that `scenario` meets in the named files, one at a time, and
  /// explores it again. An ordering whose weakening is not noticed is too strong, or the
  /// scenario is too small to need it.
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
  /// The order of an access, as the options want it.
  @inline(__always)
  func weaken(_ order: MemoryOrder, _ site: Site, _ operation: String) -> MemoryOrder {
    if options.recordsOrderings { note(order, site, operation) }
    guard let weakening = options.weakening, weakening.ordering.line == site.line,
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

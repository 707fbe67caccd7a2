public import Interleave

/// A protocol of the production sources, as something to explore.
public struct Protocol {
  public var name: String
  public var threads: Int
  /// Preemptions explored; nil for all.
  public var bound: Int?
  /// Bugs that must be found here.
  public var plants: [Plant]
  public var scenario: (Scenario) -> Void

  init(
    _ name: String, threads: Int, bound: Int? = nil, plants: [Plant] = [],
    _ scenario: @escaping (Scenario) -> Void
  ) {
    (self.name, self.threads, self.bound) = (name, threads, bound)
    (self.plants, self.scenario) = (plants, scenario)
  }

  /// Explores it, with a bug or without.
  public func run(plant bug: Plant = .none, seconds: Int) -> Report {
    var options = Checker.Options()
    options.preemptionBound = bound
    options.maximalDuration = .seconds(seconds)
    options.maximalSteps = 5000
    plant = bug
    defer { plant = .none }
    return Checker(options).run(scenario)
  }

  /// All that `make test` explores.
  public static var all: [Protocol] { zeroPage + gracePeriods + frames + spaces }
}

/// Something that threads of a scenario share, and that its end may drop.
final class Box<Value: ~Copyable>: @unchecked Sendable {
  // Sendable: fibres run one at a time.
  var value: Value
  init(_ value: consuming Value) { self.value = value }
}

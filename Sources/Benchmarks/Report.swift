/// The result of a scenario: figures, some of them with a goal.
public struct Report: Codable, Sendable {
  public var scenario: String
  /// The command that measured these figures.
  public var command: String
  public var figures: [Figure] = []

  init(_ scenario: Scenario, arguments: String = "") {
    self.scenario = scenario.rawValue
    command = "hugemem bench \(scenario.rawValue)\(arguments.isEmpty ? "" : " ")\(arguments)"
  }

  mutating func add(
    _ name: String, _ value: Double, _ unit: Figure.Unit, spread: Double? = nil,
    goal: Double? = nil
  ) {
    figures.append(Figure(name: name, value: value, unit: unit, spread: spread, goal: goal))
  }

  /// Whether every figure with a goal meets it.
  public var isMet: Bool { figures.allSatisfy { $0.isMet ?? true } }
}

/// One measured value. For all of them, less is better.
public struct Figure: Codable, Sendable {
  public enum Unit: String, Codable, Sendable {
    case bytes
    case nanoseconds = "ns"
    case percent = "%"
    /// The value divided by the one that it is compared with.
    case ratio = "×"
    case count = ""
  }

  public var name: String
  public var value: Double
  public var unit: Unit
  /// Half the distance between the quartiles of the rounds, in the same unit.
  public var spread: Double?
  /// The value should be at most this.
  public var goal: Double?

  public var isMet: Bool? { goal.map { value <= $0 } }
}

// MARK: As a table

extension Report {
  /// An aligned table with one line for each figure.
  public var text: String {
    let head = ["", "value", "±", "goal", ""]
    let rows = [head] + figures.map(\.cells)
    let widths = head.indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    let lines = rows.map { row in
      var line = row[0].padded(to: widths[0])
      for column in 1...3 { line += "  " + row[column].padded(to: widths[column], left: true) }
      line += row[4].isEmpty ? "" : "  " + row[4]
      return String(line.reversed().drop { $0 == " " }.reversed())
    }
    return "$ \(command)\n" + lines.joined(separator: "\n") + "\n"
  }
}

extension Figure {
  fileprivate var cells: [String] {
    [
      name, unit.text(value), spread.map(unit.text) ?? "", goal.map { "≤ " + unit.text($0) } ?? "",
      isMet.map { $0 ? "met" : "missed" } ?? "",
    ]
  }
}

extension Figure.Unit {
  func text(_ value: Double) -> String {
    switch self {
    case .bytes: Self.bytes(value)
    case .nanoseconds:
      value < 10_000
        ? decimal(value, value < 100 ? 1 : 0) + " ns" : decimal(value / 1000, 1) + " µs"
    case .percent: decimal(value, 2) + " %"
    case .ratio: decimal(value, 3) + " ×"
    case .count: decimal(value, 0)
    }
  }

  private static func bytes(_ value: Double) -> String {
    switch abs(value) {
    case ..<4096: decimal(value, 0) + " B"
    case ..<1_048_576: decimal(value / 1024, 1) + " KiB"
    // A count of frames is shown exactly as well.
    default: decimal(value / 1_048_576, 1) + " MiB = " + decimal(value, 0) + " B"
    }
  }
}

/// Formats a number. Foundation could do this, but it is a large dependency.
private func decimal(_ value: Double, _ places: Int) -> String {
  var scale = 1.0
  for _ in 0..<places { scale *= 10 }
  let scaled = Int((value.magnitude * scale).rounded())
  let whole = scaled / Int(scale)
  let sign = value < 0 && scaled > 0 ? "-" : ""
  guard places > 0 else { return "\(sign)\(whole)" }
  let rest = String(scaled % Int(scale))
  return "\(sign)\(whole)." + String(repeating: "0", count: places - rest.count) + rest
}

extension String {
  fileprivate func padded(to width: Int, left: Bool = false) -> String {
    let fill = String(repeating: " ", count: max(0, width - count))
    return left ? fill + self : self + fill
  }
}

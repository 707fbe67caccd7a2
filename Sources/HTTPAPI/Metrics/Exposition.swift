/// Text for Prometheus, in the older text format or as OpenMetrics 1.0.
struct Exposition {
  let isOpenMetrics: Bool
  private(set) var text = ""

  var contentType: String {
    isOpenMetrics
      ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
      : "text/plain; version=0.0.4; charset=utf-8"
  }

  /// Adds a family: its name without the suffix `_total`, and its samples.
  mutating func add(_ family: Family, _ samples: (inout Samples) -> Void) {
    var found = Samples(name: family.name)
    samples(&found)
    guard !found.text.isEmpty else { return }
    // The older format names a counter as its samples are named.
    let isOldCounter = !isOpenMetrics && family.kind == .counter
    let name = isOldCounter ? family.name + "_total" : family.name
    // It has no type for facts about the program.
    let kind = !isOpenMetrics && family.kind == .info ? "gauge" : family.kind.rawValue
    let infoName = !isOpenMetrics && family.kind == .info ? name + "_info" : name
    text += "# TYPE \(infoName) \(kind)\n"
    if isOpenMetrics, let unit = family.unit { text += "# UNIT \(name) \(unit)\n" }
    text += "# HELP \(infoName) \(family.help)\n"
    text += found.text
  }

  /// Returns what was added since the last call.
  mutating func take() -> String {
    defer { text = "" }
    return text
  }

  struct Samples {
    let name: String
    fileprivate(set) var text = ""

    /// `labels` are pairs of a name and a value that needs no escape.
    mutating func add(_ suffix: String = "", _ labels: [(String, String)] = [], _ value: String) {
      text += name + suffix
      if !labels.isEmpty {
        text += "{" + labels.map { "\($0)=\"\($1)\"" }.joined(separator: ",") + "}"
      }
      text += " \(value)\n"
    }

    mutating func gauge(_ labels: [(String, String)] = [], _ value: UInt64) {
      add("", labels, "\(value)")
    }

    mutating func counter(_ labels: [(String, String)] = [], _ value: UInt64) {
      add("_total", labels, "\(value)")
    }

    /// `counts` has one more value than `bounds`.
    mutating func histogram(
      _ labels: [(String, String)], bounds: [String], counts: ArraySlice<UInt64>, sum: String
    ) {
      var total: UInt64 = 0
      for (bound, count) in zip(bounds + ["+Inf"], counts) {
        total += count
        add("_bucket", labels + [("le", bound)], "\(total)")
      }
      add("_count", labels, "\(total)")
      add("_sum", labels, sum)
    }
  }
}

/// The name, type and meaning of a metric.
struct Family: Sendable {
  enum Kind: String { case gauge, counter, histogram, info }
  let name: String
  let kind: Kind
  let unit: String?
  let help: String

  init(_ kind: Kind, _ name: String, _ help: String) {
    (self.name, self.kind, self.help) = ("hugemem_" + name, kind, help)
    unit = ["bytes", "seconds"].first { name.hasSuffix("_" + $0) }
  }

  /// One of the names that Prometheus' client libraries use for any process.
  init(process kind: Kind, _ name: String, _ help: String) {
    (self.name, self.kind, self.help) = ("process_" + name, kind, help)
    unit = ["bytes", "seconds"].first { name.hasSuffix("_" + $0) }
  }
}

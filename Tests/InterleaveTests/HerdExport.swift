import Foundation
import Interleave
import Testing

/// Writes each litmus shape in herd's language, with all results that the checker finds, to the
/// directory that HUGEMEMORY_HERD names. `scripts/herd` compares them with herd's results.
///
/// A shape is code. To get its source, each thread runs by itself, outside of the checker, and the
/// calls of `Words` and `Registers` are recorded. A load returns a token that stands for its
/// register.
@Suite struct HerdExport {
  private static let folder = ProcessInfo.processInfo.environment["HUGEMEMORY_HERD"]

  @Test(.enabled(if: folder != nil, "make herd"))
  func exportShapes() throws {
    let folder = URL(fileURLWithPath: try #require(Self.folder), isDirectory: true)
    let shapes =
      storeBuffering + messagePassing + releaseSequences + causality + coherence + orders
      + readModifyWrites
    for (number, shape) in shapes.enumerated() {
      let recorder = Recorder()
      let threads = shape.threads(LitmusWords(recorder), Registers(recorder))
      for (number, thread) in threads.enumerated() {
        recorder.begin(number)
        thread()
      }
      let file = folder.appending(path: String(format: "%02d", number))
      try recorder.litmus(shape.name).write(
        to: file.appendingPathExtension("litmus"), atomically: true, encoding: .utf8)
      let (results, report) = outcomes([.sleepSets, .stateCache], shape.litmus)
      #expect(report.isComplete)
      if let deviation = deviations[shape.name] {
        try (deviation + "\n").write(
          to: file.appendingPathExtension("deviation"), atomically: true, encoding: .utf8)
      }
      let lines = Set(results.map(recorder.result)).sorted()
      try (lines.joined(separator: "\n") + "\n").write(
        to: file.appendingPathExtension("checker"), atomically: true, encoding: .utf8)
    }
  }
}

/// The known differences between the checker and `rc11.cat`: whether the checker finds more results
/// or fewer, and why. (Load buffering is not among them: RC11 forbids it, and only C11 allows it.)
private let deviations = [
  "release sequence, own plain store": "more: C++20 ends the sequence there",
  "IRIW sequential loads": "fewer: in C++20, coherence-ordered before is transitive",
  "S relaxed: modification order is execution order": "fewer: a limit",
  "2+2W relaxed: modification order is execution order": "fewer: a limit",
  "2+2W release: modification order is execution order": "fewer: a limit",
  "Z6.U: S is execution order": "fewer: a limit",
]

/// Records what a shape does, as a C program.
final class Recorder {
  private var bodies: [[String]] = []
  /// For each register, the name under which herd finds it.
  private var places: [Int: String] = [:]
  private var locations: Set<String> = []
  private var expected: [String: UInt64] = [:]
  private var temporaries: [String] = []
  private static let firstToken: UInt64 = 1 << 32

  func begin(_ thread: Int) { bodies.append([]) }

  private var thread: Int { bodies.count - 1 }

  private func line(_ line: String) { bodies[thread].append("  \(line);") }

  /// A token that stands for the value that `place` will have.
  private func token(_ place: String) -> UInt64 {
    temporaries.append(place)
    return Self.firstToken + UInt64(temporaries.count - 1)
  }

  /// The source text of a value: a number, or the register that it came from.
  private func source(_ value: UInt64) -> String {
    guard value >= Self.firstToken else { return "\(value)" }
    return temporaries[Int(value - Self.firstToken)].split(separator: ":").last.map(String.init)!
  }

  func load(_ name: String, _ order: MemoryOrder) -> UInt64 {
    locations.insert(name)
    let register = "r\(temporaries.count)"
    line("int \(register) = atomic_load_explicit(\(name), \(order.inC))")
    return token("\(thread):\(register)")
  }

  func store(_ name: String, _ value: UInt64, _ order: MemoryOrder) {
    locations.insert(name)
    line("atomic_store_explicit(\(name), \(source(value)), \(order.inC))")
  }

  func add(_ name: String, _ value: UInt64, _ order: MemoryOrder) -> UInt64 {
    locations.insert(name)
    let register = "r\(temporaries.count)"
    line("int \(register) = atomic_fetch_add_explicit(\(name), \(source(value)), \(order.inC))")
    return token("\(thread):\(register)")
  }

  /// Afterwards the word of the expected value holds the value found, whether the exchange
  /// succeeded or not.
  func compareExchange(
    _ name: String, _ expected: UInt64, _ desired: UInt64, _ order: MemoryOrder
  ) -> UInt64 {
    locations.insert(name)
    let word = "e\(temporaries.count)"
    self.expected[word] = expected
    let failure: MemoryOrder =
      switch order {
      case .relaxed, .release: .relaxed
      case .acquire, .acquireRelease: .acquire
      case .sequential: .sequential
      }
    line(
      "int b\(temporaries.count) = atomic_compare_exchange_strong_explicit("
        + "\(name), \(word), \(source(desired)), \(order.inC), \(failure.inC))")
    return token(word)
  }

  func fence(_ order: MemoryOrder) { line("atomic_thread_fence(\(order.inC))") }

  func keep(_ value: UInt64, in register: Int) {
    places[register] = temporaries[Int(value - Self.firstToken)]
  }

  func litmus(_ name: String) -> String {
    let words = expected.keys.sorted()
    let parameters = (locations.sorted().map { "atomic_int* \($0)" } + words.map { "int* \($0)" })
      .joined(separator: ", ")
    let observed = (places.values + locations.filter { $0 != "z" }).sorted()
    return """
      C shape
      "\(name)"
      {\(words.map { "\($0) = \(expected[$0]!);" }.joined(separator: " "))}
      \(bodies.enumerated().map { thread, lines in
        "P\(thread)(\(parameters)) {\n\(lines.joined(separator: "\n"))\n}\n"
      }.joined())
      locations [\(observed.map { "\($0);" }.joined(separator: " "))]
      exists (true)

      """
  }

  /// A result in the form in which herd prints it.
  func result(_ registers: [UInt64]) -> String {
    var values = places.map { "\($0.value)=\(registers[$0.key]);" }
    for (name, register) in [("x", 14), ("y", 15)] where locations.contains(name) {
      values.append("[\(name)]=\(registers[register]);")
    }
    return values.map { $0.hasPrefix("e") ? "[" + $0.replacing("=", with: "]=") : $0 }
      .sorted().joined(separator: " ")
  }
}

extension MemoryOrder {
  fileprivate var inC: String {
    switch self {
    case .relaxed: "memory_order_relaxed"
    case .acquire: "memory_order_acquire"
    case .release: "memory_order_release"
    case .acquireRelease: "memory_order_acq_rel"
    case .sequential: "memory_order_seq_cst"
    }
  }
}

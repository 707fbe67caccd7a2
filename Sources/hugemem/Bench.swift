import ArgumentParser
import Benchmarks
import HugeMemory

struct Bench: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Measure the engine in this process; needs no server and no directory.",
    discussion: "Scenarios:\n"
      + Scenario.allCases.map { "  \($0.rawValue.padded(to: 12))\($0.summary)" }
      .joined(separator: "\n")
      + "\n\nThe exit status is 1 if a figure misses its goal.")

  // Every command takes --directory, so that scripts can pass it to all of them.
  @OptionGroup var server: ServerOptions
  @Argument(help: ArgumentHelp("One of the scenarios above.", valueName: "scenario"))
  var scenario: Scenario
  @Option(help: "Number of spaces that fault in parallel (faults).") var spaces = 40
  @Option(help: "Number of threads for the spaces; 0 means one per core (faults).") var threads = 0
  @Option(
    help: ArgumentHelp(
      "Only read faults with this policy: perTable, perMapping or neverFreed (faults).",
      valueName: "policy"))
  var reference: String?
  @Option(help: "Rounds of each measurement; 0 means the scenario's default.") var rounds = 0
  @Option(help: "MiB of working set (io) or data (fork, reclaim); 0 means the scenario's default.")
  var megabytes = 0
  @Flag(help: "Print JSON; sizes in bytes, times in nanoseconds.") var json = false

  func validate() throws {
    guard 1...4096 ~= spaces else { throw ValidationError("--spaces \(spaces): use 1 to 4096") }
    guard 0...1024 ~= threads else { throw ValidationError("--threads \(threads): use 0 to 1024") }
    guard reference == nil || policy != nil else {
      throw ValidationError("--reference \(reference!): use perTable, perMapping or neverFreed")
    }
    guard 0...10_000 ~= rounds else { throw ValidationError("--rounds \(rounds): use 0 to 10000") }
    guard 0...65536 ~= megabytes else {
      throw ValidationError("--megabytes \(megabytes): use 0 to 65536")
    }
  }

  private var policy: Policy.ZeroReference? {
    Policy.ZeroReference.allCases.first { "\($0)" == reference }
  }

  func run() throws {
    var options = Options()
    options.reference = policy
    options.spaces = spaces
    options.threads = threads
    options.rounds = rounds
    options.megabytes = megabytes
    let report = try Benchmarks.run(scenario, options: options)
    if json { try printJSON(report) } else { print(report.text, terminator: "") }
    if !report.isMet { throw ExitCode(1) }
  }
}

extension Scenario: ExpressibleByArgument {}

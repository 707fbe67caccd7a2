import CKernelOracle
import Testing

@testable import HugeMemory

/// The table of what a huge page becomes, row by row. The engine is tested on any machine, and the
/// kernel too if it can be compared with.
extension OracleTests {
  struct Row: CustomTestStringConvertible {
    var steps: String
    /// For each process, the runs that it sees at the end.
    var states: [Int: String]
    var testDescription: String { steps.split(separator: "\n").joined(separator: "; ") }
    init(_ steps: String, _ state: String, child: String? = nil) {
      self.steps = steps
      states = [0: state]
      if let child { states[1] = child }
    }
  }

  static let rows: [Row] = [
    Row("0: read 5.0", "zero huge"),
    Row("0: read 5.0\n0: write 7.0 1", "data huge"),
    Row("0: write 7.0 1\n0: discard 3", "0..<3 data small, 4..<512 data small"),
    Row(
      "0: write 7.0 1\n0: discard 3\n0: read 3.0",
      "0..<3 data small, 3 zero small, 4..<512 data small"),
    Row("0: write 7.0 1\n0: discard 3\n0: write 3.0 2", "data small"),
    Row("0: read 0.0\n0: discard 3", "0..<3 zero small, 4..<512 zero small"),
    Row(
      "0: read 0.0\n0: discard 3\n0: read 3.0\n0: write 9.0 1",
      "0..<9 zero small, 9 data small, 10..<512 zero small"),
    Row("0: write 0.0 1\n0: discard 0..<512", ""),
    Row("0: read 0.0\n0: protect 0..<4 read", "zero small"),
    Row(
      "0: read 0.0\n0: protect 0..<4 read\n0: write 9.0 1",
      "0..<9 zero small, 9 data small, 10..<512 zero small"),
    Row("0: read 0.0\n0: protect 0..<512 read\n0: protect 0..<512 read-write", "zero huge"),
    Row(
      "0: read 0.0\n0: protect 0..<512 read\n0: protect 0..<512 read-write\n0: write 1.0 1",
      "data huge"),
    Row("0: write 0.0 1\n0: protect 0..<4 none", "data small"),
    Row("0: protect 0..<4 read\n0: read 9.0", "9 zero small"),
    Row("0: protect 0..<4 read\n0: read 9.0\n0: write 9.0 1", "9 data small"),
    Row("0: write 0.0 1\n0: fork 1", "data huge", child: "data huge"),
    Row("0: write 0.0 1\n0: fork 1\n1: write 9.0 2", "data huge", child: "data small"),
    Row("0: write 0.0 1\n0: fork 1\n1: write 9.0 2\n1: exit\n0: write 3.0 3", "data huge"),
    Row("0: write 0.0 1\n0: fork 1\n0: write 3.0 2", "data small", child: "data huge"),
    Row("0: read 0.0\n0: fork 1\n1: write 9.0 1", "zero huge", child: "data huge"),
    Row(
      "0: no-huge 0..<512\n0: write 0.0 1\n0: write 2.0 1\n0: huge 0..<512\n0: collapse 0..<512",
      "data huge"),
    Row(
      "0: no-huge 0..<512\n0: read 0.0\n0: read 1.0\n0: huge 0..<512\n0: collapse 0..<512",
      "0..<2 zero small"),
    Row("0: read 0.0\n0: collapse 0..<512", "zero huge"),
    Row("0: read 0.0\n0: move 0..<512 to 1024", "1024..<1536 zero huge"),
    Row(
      "0: read 0.0\n0: move 1..<511 to 1025",
      "0 zero small, 511 zero small, 1025..<1535 zero small"),
    Row("0: write 0.0 1\n0: move 0..<512 to 1024", "1024..<1536 data huge"),
    Row("0: populate-read 0..<512", "zero huge"),
    Row("0: populate-write 0..<512", "data huge"),
    Row("0: read 0.0\n0: no-huge 0..<512\n0: write 5.0 1", "data huge"),
    Row("0: write 0.0 1\n0: unmap 100", "0..<100 data small, 101..<512 data small"),
    Row("0: write 0.0 1\n0: protect 0..<512 none", "data huge"),
    Row(
      "0: no-huge 0..<512\n0: write 0.0 1\n0: discard 0..<256\n0: discard 256..<512\n0: huge 0..<512\n0: write 1.0 1",
      "1 data small"),
    Row(
      "0: no-huge 0..<512\n0: write 0.0 1\n0: discard 0..<512\n0: huge 0..<512\n0: write 1.0 1",
      "data huge"),
  ]

  private static let setUp = "0: map 0..<512\n0: huge 0..<512\n"

  @Test(arguments: rows) func aHugePageBecomes(_ row: Row) throws {
    let steps = program(Self.setUp + row.steps)
    var policy = Policy.linux
    policy.followsLinux = true
    policy.enabled = .madvise
    var engine = try Engine(policy)
    expect(try engine.run(steps), row, "the engine")
    if KernelFacts.unfit == nil, try KernelFacts.policy(Kernel()).zeroWrite == .huge {
      expect(try Kernel().run(steps), row, "the kernel")
    }
  }

  private func expect(_ observations: [Observation], _ row: Row, _ side: Comment) {
    let views = observations.last?.views ?? [:]
    #expect(views.mapValues(text) == row.states, side)
  }

  /// The runs as text, by their states alone. A single run that is a whole slot has no range.
  private func text(_ runs: [Run]) -> String {
    var joined: [Run] = []
    for var run in runs {
      run.digest = 0
      if let last = joined.last, last.first + last.count == run.first, last.state == run.state {
        joined[joined.count - 1].count += run.count
      } else {
        joined.append(run)
      }
    }
    return joined.map { run in
      let state =
        (run.state & UInt32(KO_ZERO) != 0 ? "zero " : "data ")
        + (run.state & UInt32(KO_IS_HUGE) != 0 ? "huge" : "small")
      if run.first == 0 && run.count == 512 { return state }
      return run.count == 1
        ? "\(run.first) \(state)" : "\(run.first)..<\(run.first + run.count) \(state)"
    }.joined(separator: ", ")
  }
}

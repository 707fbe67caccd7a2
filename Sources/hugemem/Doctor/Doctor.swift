import ArgumentParser
import ControlPlane
import MemoryPressure

struct Doctor: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Say what on this machine limits a server, and how to change it.",
    discussion: """
      Looks at the kernel's settings, the control group and the limits of this process. Changes \
      nothing. Exits with 1 if something limits a server.
      """)

  // Every command takes --directory, so that scripts can pass it to all of them.
  @OptionGroup var server: ServerOptions
  @Flag(help: "Print JSON.") var json = false
  @Option(
    help: ArgumentHelp(
      "Look at /proc and /sys in this directory, for example those of another machine.",
      valueName: "dir"))
  var root = ""

  func run() throws {
    let findings = Machine(root: root).findings + Process().findings + [Self.survival]
    if json { try printJSON(findings) } else { Self.show(findings) }
    if findings.contains(where: \.limits) { throw ExitCode(1) }
  }

  private static func show(_ findings: [Finding]) {
    let width = findings.map(\.subject.count).max() ?? 0
    for finding in findings {
      print(
        "\(finding.limits ? "limits" : "good  ")  \(finding.subject.padded(to: width))  \(finding.value)"
      )
      if let effect = finding.effect { print("          \(effect)") }
      if let change = finding.change { print("          change it: \(change)") }
    }
  }
}

/// One thing that was looked at.
struct Finding: Encodable {
  let subject: String
  let value: String
  /// What it means for a server; nil if it limits nothing.
  var effect: String?
  /// The command that changes it.
  var change: String?

  var limits: Bool { effect != nil }

  init(_ subject: String, _ value: String) { (self.subject, self.value) = (subject, value) }

  init(_ subject: String, _ value: String, limits effect: String, change: String) {
    self.init(subject, value)
    (self.effect, self.change) = (effect, change)
  }
}

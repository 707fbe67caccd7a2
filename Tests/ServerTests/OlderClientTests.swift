import FoundationEssentials
import HugeMemory
import Logging
import NBDServer
import Testing

@testable import ControlPlane

/// The requests that clients have sent since the control socket exists, one per line. A server must
/// always understand the old forms. When a form changes, add the new one here and keep the old one.
@Suite struct OlderClientTests {
  let scratch = Scratch()
  let server: ControlServer

  init() throws {
    let disks = Disks(machine: try Machine(limit: 64 << 20, background: .none))
    server = ControlServer(
      disks: disks, directory: RuntimeDirectory(scratch.path),
      log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
  }

  private func answer(_ line: String) throws -> ControlResponse {
    let request = try JSONDecoder().decode(ControlRequest.self, from: Data(line.utf8))
    return server.answer(request) { _, _ in }
  }

  @Test func everyRequestOfBeforeDiskLimitsIsAnswered() throws {
    let image = scratch.file("in", size: 1 << 20, [(at: 0, bytes: [1])])
    let lines = [
      #"{"create":{"name":"a","size":1048576}}"#,
      #"{"importFile":{"name":"b","path":"\#(image)"}}"#,
      #"{"exportFile":{"name":"b","path":"\#(scratch.path)/out"}}"#,
      #"{"fork":{"source":"a","names":["c","d"]}}"#,
      #"{"reset":{"name":"c"}}"#,
      #"{"remove":{"names":["c","d"]}}"#,
    ]
    for line in lines { #expect(try answer(line) == .done, "\(line)") }
    for line in [
      #"{"list":{}}"#, #"{"stat":{}}"#, #"{"stat":{"name":"a"}}"#, #"{"shrink":{}}"#,
      #"{"tune":{"_0":[]}}"#,
      #"{"tune":{"_0":[{"name":"khugepaged/max_ptes_none","value":"17"}]}}"#,
    ] {
      if case .failure(let message) = try answer(line) { Issue.record("\(line): \(message)") }
    }
  }

  @Test func everyRequestWithDiskLimitsIsAnswered() throws {
    let lines = [
      #"{"create":{"name":"a","size":1048576,"limits":{"quota":8388608}}}"#,
      #"{"create":{"name":"b","size":1048576,"limits":{}}}"#,
      #"{"fork":{"source":"a","names":["c"],"limits":{"quota":4194304,"reserve":1048576}}}"#,
    ]
    for line in lines { #expect(try answer(line) == .done, "\(line)") }
    for line in [
      #"{"limit":{"name":"a","quota":{"set":{"_0":16777216}},"reserve":{"keep":{}}}}"#,
      #"{"limit":{"name":"a","quota":{"lift":{}}}}"#,
      #"{"limit":{"name":"a"}}"#,
      #"{"limitMemory":{}}"#, #"{"limitMemory":{"bytes":67108864}}"#,
    ] {
      if case .failure(let message) = try answer(line) { Issue.record("\(line): \(message)") }
    }
  }
}

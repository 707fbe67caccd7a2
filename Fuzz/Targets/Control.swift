// Fuzzes the control socket: lines of JSON become requests, which a server with a few disks carries out.
// A line that begins with # is a map of changes. scripts/fuzz compiles this file into the module
// ControlPlane and links the release build of the layers below it.
import FoundationEssentials
import HugeMemory
import Logging
import NBDServer

private struct Server {
  let disks: Disks
  let control: ControlServer

  init() throws {
    let machine = try Machine(limit: 32 << 20, background: .none)
    disks = Disks(machine: machine, limit: 40)
    control = ControlServer(
      disks: disks, directory: RuntimeDirectory("/tmp"),
      log: Logger(label: "fuzz") { _ in SwiftLogNoOpLogHandler() })
  }
}

// One server for all inputs. Each input removes its disks again.
private let server = try! Server()

private func take(_ line: Data) throws {
  if line.first == UInt8(ascii: "#") {
    let text = line.dropFirst()
    guard let changes = try? JSONDecoder().decode(ChangeMap.self, from: text) else { return }
    if ChangeMap.fault(in: changes.ranges, size: changes.size) == nil {
      var end: UInt64 = 0
      for range in changes.ranges {
        precondition(range.start >= end && range.length > 0 && range.length <= changes.size)
        end = range.start + range.length
        precondition(end <= changes.size)
      }
    }
    return
  }
  guard let request = try? JSONDecoder().decode(ControlRequest.self, from: line) else { return }
  switch request {
  // They open the path that they name.
  case .importFile, .exportFile, .importChanges, .exportChanges: return
  #if PLANTED_BUG
    case .create(_, let size, _, _): precondition(size == 1 << 20, "planted")
  #endif
  default: break
  }
  let answer = server.control.answer(request) { _, _ in }
  // Every answer can be sent, and a request survives being sent.
  let sent = try JSONEncoder().encode(answer)
  _ = try JSONDecoder().decode(ControlResponse.self, from: sent)
  let again = try JSONDecoder().decode(ControlRequest.self, from: JSONEncoder().encode(request))
  precondition(again == request, "a request changed on its way")
  precondition(!request.summary.isEmpty)
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
  let bytes = Data(UnsafeBufferPointer(start: start, count: count))
  for line in bytes.split(separator: 10) { try! take(Data(line)) }
  try? server.disks.remove(server.disks.list().map(\.name))
  precondition(server.disks.count == 0, "disks are left")
  server.disks.machine.settle()
  return 0
}

// Fuzzes rule files. The bytes are a file; its first line, up to a newline, names the disk that is
// asked for. scripts/fuzz compiles this file with those of Sources/NBDServer/Access that it needs.

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: start, count: count))
  guard case .success(let rules) = RuleFile.parse(bytes) else {
    if case .failure(let faults) = RuleFile.parse(bytes) {
      precondition(!faults.faults.isEmpty && faults.faults.count <= 101, "faults")
    }
    return 0
  }
  let disk = String(decoding: bytes.prefix { $0 != 10 }, as: UTF8.self)
  #if PLANTED_BUG
    // No file of the corpus has so many.
    precondition(rules.rules.count < 6, "planted")
  #endif
  for client in [Identity.anonymous, .user(0), .certificate("ci-1"), .key(disk)] {
    let (rights, line) = rules.decide(client, disk)
    // The first rule decides, so what comes after it must not matter.
    if let line {
      var shorter = rules
      shorter.rules.removeAll { $0.line > line }
      precondition(shorter.decide(client, disk).rights == rights, "a later rule decided")
    } else {
      precondition(rights == [], "nothing decided, and something is allowed")
    }
    _ = rules.allowance(client)
  }
  precondition(rules.unreachable.allSatisfy { $0.line > $0.because }, "unreachable by a later line")
  return 0
}

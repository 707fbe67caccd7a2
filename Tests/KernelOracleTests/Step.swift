import CKernelOracle

/// One operation on memory, by one process of a program. Places are counted in pages of 4 KiB from
/// the start of a range of four slots of 2 MiB.
struct Step: CustomStringConvertible {
  enum Operation: Equatable {
    case map, unmap, read, write, move, fork, exit
    case protect(ko_protection)
    case advise(ko_advice)
  }

  var operation: Operation
  var process = 0
  var first = 0
  var count = 0
  /// The target of a move, or the new process of a fork.
  var target = 0
  /// The word of the page to read or write, and the value to write.
  var word = 0
  var stamp: UInt64 = 0

  var pages: Range<Int> { first..<first + count }

  /// The slots whose contents the step may change or show.
  var slots: Set<Int> {
    func slots(_ pages: Range<Int>) -> [Int] {
      pages.isEmpty ? [] : Array(pages.lowerBound / 512...(pages.upperBound - 1) / 512)
    }
    return Set(slots(pages) + (operation == .move ? slots(target..<target + count) : []))
  }

  var kernelStep: ko_step {
    var step = ko_step()
    step.process = UInt8(process)
    step.first = UInt16(first)
    step.count = UInt16(count)
    step.word = UInt8(word)
    step.stamp = stamp
    switch operation {
    case .map:
      step.kind = UInt8(KO_MAP.rawValue)
      step.argument = UInt8(KO_READ_WRITE.rawValue)
    case .unmap: step.kind = UInt8(KO_UNMAP.rawValue)
    case .read: step.kind = UInt8(KO_READ.rawValue)
    case .write: step.kind = UInt8(KO_WRITE.rawValue)
    case .move:
      step.kind = UInt8(KO_MOVE.rawValue)
      step.target = UInt16(target)
    case .fork:
      step.kind = UInt8(KO_FORK.rawValue)
      step.argument = UInt8(target)
    case .exit: step.kind = UInt8(KO_EXIT.rawValue)
    case .protect(let protection):
      step.kind = UInt8(KO_PROTECT.rawValue)
      step.argument = UInt8(protection.rawValue)
    case .advise(let advice):
      step.kind = UInt8(KO_ADVISE.rawValue)
      step.argument = UInt8(advice.rawValue)
    }
    return step
  }

  var description: String {
    let range = count == 1 ? "\(first)" : "\(first)..<\(first + count)"
    let what =
      switch operation {
      case .map: "map \(range)"
      case .unmap: "unmap \(range)"
      case .read: "read \(first).\(word)"
      case .write: "write \(first).\(word) \(stamp)"
      case .move: "move \(range) to \(target)"
      case .fork: "fork \(target)"
      case .exit: "exit"
      case .protect(let protection):
        "protect \(range) \(["none", "read", "read-write"][Int(protection.rawValue)])"
      case .advise(let advice):
        "\(["huge", "no-huge", "discard", "collapse", "populate-read", "populate-write"][Int(advice.rawValue)]) \(range)"
      }
    return "\(process): \(what)"
  }

  /// Parses a line as `description` prints it.
  init?(_ line: String) {
    let words = line.split(whereSeparator: { $0 == " " || $0 == ":" }).map(String.init)
    guard words.count >= 2, let process = Int(words[0]) else { return nil }
    self.init(operation: .exit, process: process)
    if words[1] == "exit" { return }
    guard words.count >= 3 else { return nil }
    if words[1] == "fork" {
      operation = .fork
      target = Int(words[2]) ?? 0
      return
    }
    let place = words[2].split(separator: ".").map(String.init)
    guard let start = Int(place[0]) else { return nil }
    first = start
    count = 1
    if words[1] == "read" || words[1] == "write" {
      operation = words[1] == "read" ? .read : .write
      word = Int(place[1]) ?? 0
      stamp = words.count > 3 ? UInt64(words[3]) ?? 0 : 0
      return
    }
    if let end = place.last, end.hasPrefix("<") { count = (Int(end.dropFirst()) ?? 0) - start }
    switch words[1] {
    case "map": operation = .map
    case "unmap": operation = .unmap
    case "move":
      operation = .move
      target = words.count > 4 ? Int(words[4]) ?? 0 : 0
    case "protect":
      let names = ["none": KO_NONE, "read": KO_READ_ONLY, "read-write": KO_READ_WRITE]
      guard words.count > 3, let protection = names[words[3]] else { return nil }
      operation = .protect(protection)
    default:
      let names = [
        "huge": KO_HUGE, "no-huge": KO_NO_HUGE, "discard": KO_DISCARD, "collapse": KO_COLLAPSE,
        "populate-read": KO_POPULATE_READ, "populate-write": KO_POPULATE_WRITE,
      ]
      guard let advice = names[words[1]] else { return nil }
      operation = .advise(advice)
    }
  }

  init(operation: Operation, process: Int = 0) {
    self.operation = operation
    self.process = process
  }
}

/// Parses a program, one step a line.
func program(_ text: String) -> [Step] {
  text.split(separator: "\n").map { line in
    guard let step = Step(String(line)) else { preconditionFailure("no step: \(line)") }
    return step
  }
}

/// Crashes in tokens and traces.
///
/// ```
///   steps until the crash │ 0 │ combination │ stores │ combination │ …
///                           ▲                 └── recovery is killed ──┘
///                           all threads stop
/// ```
///
/// Thread 0 is no thread of the scenario, so a 0 where a thread is chosen is a crash. What follows
/// has two characters each. A combination says which plain writes are missing. For each time that
/// recovery is killed there is the number of its stores to surviving memory until then.
extension Explorer {
  static func digits(_ number: Int) -> [UInt8] { [UInt8(number >> 6 & 63), UInt8(number & 63)] }

  private func readNumber() -> Int? {
    guard let replayed, position + 1 < replayed.count else { return nil }
    defer { position += 2 }
    return Int(replayed[position]) << 6 | Int(replayed[position + 1])
  }

  /// Whether a replay has come to its crash.
  func isCrashReplayed() -> Bool {
    guard let replayed, crash.isOn, !isCoasting, position < replayed.count,
      replayed[position] == 0
    else { return false }
    position += 1
    crash.hasCrashed = true
    return true
  }

  /// Repeats the recoveries of the token. Called by the main thread.
  func replayCrash() {
    noteCrash()
    var remains: Remains? = remains(readNumber() ?? 0, token: [])
    while failure == nil, let left = remains {
      crash.killedAfter = readNumber()
      recover(from: left)
      remains = crash.next
    }
  }

  /// Kills recovery if the token says so.
  func replayKill() {
    guard crash.killedAfter == crash.stores else { return }
    trace.append("KILLED: recovery stops for ever too, and the next one begins")
    crash.next = remains(readNumber() ?? 0, token: [])
    switchTo(0)
  }

  // MARK: The trace

  private func noteCrash() {
    trace.append("CRASH: all threads stop for ever")
    for thread in threads.dropFirst() {
      let place = thread.isFinished ? "has ended" : "stops before \(describe(thread.pending))"
      trace.append("  \(thread.name) \(place)")
    }
  }

  private func describe(_ operation: Operation) -> String {
    let place = operation.site.map { ", \($0.description)" } ?? ""
    return switch operation.kind {
    case .start: "its first step"
    case .pause: "it looks again\(place)"
    case .fence: "a fence\(place)"
    case .processFence: "a fence on \(threads[operation.object].name)\(place)"
    case .heap: "an allocation or a free\(place)"
    case .cell: "a write to \(plain.cells[operation.object].name)\(place)"
    case .load, .store, .modify, .compareExchange, .lock, .tryLock, .unlock:
      "\(memory.locations[operation.object].name).\(operation.kind)\(place)"
    }
  }

  func noteMissing(_ cell: Int, _ value: UInt64) {
    let last = plain.cells[cell]
    let place = last.writeSite.map { " at \($0.site.description)" } ?? ""
    trace.append(
      "  \(last.name) still holds \(show(value)): the write of \(show(last.value)) by "
        + "\(threads[last.writer].name)\(place) has no release after it, so it may come later")
  }
}

import Glibc
import Logging
import Primitives
import Testing

@testable import ControlPlane

@Suite struct LogTests {
  /// Makes a pipe for a log to write to.
  private func makePipe() -> (read: Int32, write: Int32) {
    var ends: [Int32] = [0, 0]
    unsafe pipe(&ends)
    return (ends[0], ends[1])
  }

  private func text(from pipe: Int32) -> String {
    var bytes = [UInt8](repeating: 0, count: 1 << 20)
    let count = unsafe read(pipe, &bytes, bytes.count)
    return String(decoding: bytes[..<max(0, count)], as: UTF8.self)
  }

  private func logger(_ descriptor: Int32) -> (Logger, LogQueue) {
    let queue = LogQueue(descriptor: descriptor)
    return (Logger(label: "test") { _ in ServiceLogHandler(queue) }, queue)
  }

  @Test func textOfAClientStaysOnItsLine() {
    let pipe = makePipe()
    let (log, queue) = logger(pipe.write)
    log.notice(
      "refused",
      metadata: [
        "export": "a\nfake line \u{1b}[2J\u{202e}\"\\",
        "long": "\(String(repeating: "x", count: 5000))",
      ])
    queue.flush(within: 10_000)
    let line = text(from: pipe.read)
    #expect(line.count(where: { $0 == "\n" }) == 1 && line.hasSuffix("\n"))
    #expect(
      line.contains(
        #"notice hugemem: refused export="a\u{a}fake line \u{1b}[2J\u{202e}\"\\" long="xxx"#)
    )
    #expect(line.contains("…(5000 bytes)") && line.utf8.count < 500)
  }

  @Test func aPipeThatNobodyReadsBlocksNobodyAndIsCounted() {
    let pipe = makePipe()
    let queue = LogQueue(descriptor: pipe.write)
    let line = String(repeating: "y", count: 1023)
    // The pipe takes 64 KiB, the queue 256 KiB, and as much may be on its way from the queue to the
    // pipe. The rest is dropped.
    for _ in 0..<1000 { queue.add(line) }
    queue.flush(within: 1)
    var received = ""
    var (written, dropped) = (0, 0)
    while written + dropped < 1000 {
      queue.add("more")
      received += text(from: pipe.read)
      // Count only whole lines.
      let whole = received.lastIndex(of: "\n").map { received[...$0] } ?? ""
      written = whole.count(where: { $0 == "y" }) / 1023
      dropped = 0
      for count in whole.matches(of: #/lines dropped count=([0-9]+)/#) {
        dropped += Int(count.1) ?? 0
      }
    }
    #expect(dropped >= 1000 - (64 + 2 * 256))
  }

  @Test func aClosedPipeStopsNothing() {
    signal(SIGPIPE, SIG_IGN)
    let pipe = makePipe()
    let (log, queue) = logger(pipe.write)
    close(pipe.read)
    for number in 0..<100 { log.notice("refused", metadata: ["export": "\(number)"]) }
    queue.flush(within: 10_000)
    close(pipe.write)
  }

  @Test func oneMessageCannotFloodTheLog() {
    let pipe = makePipe()
    let (log, queue) = logger(pipe.write)
    for number in 0..<10_000 { log.notice("refused", metadata: ["export": "\(number)"]) }
    log.notice("something else")
    queue.flush(within: 10_000)
    let lines = text(from: pipe.read).split(separator: "\n")
    // The log has a burst, and the lines that were allowed while the loop ran.
    #expect((20...200).contains(lines.count) && lines.last?.hasSuffix("something else") == true)
    usleep(200_000)
    log.notice("refused", metadata: ["export": "later"])
    queue.flush(within: 10_000)
    let last = text(from: pipe.read).split(separator: "\n")
    #expect(last.count == 1 && last[0].contains("export=later"))
    // Each line says how many were left out before it, so that all are accounted for.
    let all = (lines + last).filter { $0.contains("refused") }
    let leftOut = all.compactMap {
      $0.firstMatch(of: #/left_out=([0-9]+)/#).flatMap { Int($0.1) }
    }
    #expect(all.count + leftOut.reduce(0, +) == 10_001)
  }

  @Test func threadsThatLogAtTheSameTimeDoNotEndTheServer() {
    // One may have looked at the clock before another, and get its turn after it.
    let (log, queue) = logger(makePipe().write)
    let threads = (0..<8).compactMap { _ in
      WorkerThread { for _ in 0..<20_000 { log.notice("cut") } }
    }
    for thread in threads { thread.join() }
    queue.flush(within: 1)
    #expect(threads.count == 8)
  }
}

import Testing

@testable import Primitives

@Suite struct StopSignalTests {
  @Test func aWaitEndsWithItsTime() {
    let signal = StopSignal()
    let start = monotonicTime()
    #expect(!signal.wait(microseconds: 20_000))
    #expect(monotonicTime() - start >= 20_000_000)
  }

  @Test func aThreadThatSleepsIsToldToEnd() throws {
    let signal = StopSignal()
    let thread = try #require(
      WorkerThread {
        // Would sleep for an hour without the signal.
        while !signal.wait(microseconds: 3_600_000_000) {}
        signal.end()
      })
    #expect(!signal.hasEnded)
    signal.stop()
    thread.join()
    #expect(signal.hasEnded)
    // The signal stays set.
    #expect(signal.wait(microseconds: 3_600_000_000))
  }
}

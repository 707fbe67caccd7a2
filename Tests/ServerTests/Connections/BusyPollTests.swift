import CLinux
import Testing

@testable import NBDServer

/// How long a connection looks for its next request.
@Suite struct BusyPollTests {
  @Test func theWindowFollowsTheWaits() {
    var poll = BusyPoll(longest: 100_000)
    #expect(poll.window == 0, "it sleeps at once at first")
    var windows: [UInt64] = []
    for _ in 0..<5 {
      poll.adjust(to: 40_000)
      windows.append(poll.window)
    }
    #expect(windows == [10_000, 20_000, 40_000, 80_000, 100_000], "short waits: it looks longer")
    windows = []
    for _ in 0..<5 {
      poll.adjust(to: 1_000_000)
      windows.append(poll.window)
    }
    #expect(windows == [50_000, 25_000, 12_500, 6_250, 0], "long waits: it stops looking")
  }

  @Test func withoutAWindowOrATimeItDoesNotLook() {
    var poll = BusyPoll(longest: 100_000)
    #expect(
      !poll.look {
        Issue.record("it looked"); return true
      })
    var off = BusyPoll(longest: 0)
    off.adjust(to: 1)
    #expect(
      !off.look {
        Issue.record("it looked"); return true
      })
  }

  @Test(.enabled(if: cores > 1, "one core: nobody may look"))
  func itLooksUntilThereIsSomethingOrTheTimeIsOver() {
    var poll = BusyPoll(longest: 10_000_000)
    poll.adjust(to: 1)
    poll.adjust(to: 1)
    var looks = 0
    // Another test's thread may look at the same time, and the core may be taken away.
    for _ in 0..<1000 where looks < 3 {
      looks = 0
      _ = poll.look {
        looks += 1
        return looks == 3
      }
    }
    #expect(looks == 3)
    #expect(!poll.look { false }, "nothing came")
  }

  private static var cores: Int { Int(hm_usable_cores()) }
}

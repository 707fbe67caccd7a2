import Interleave
import Testing

@testable import ProtocolsModel

/// The production file HugeZeroPage.swift under every schedule and memory order.
@Suite struct ZeroPageTests {
  /// Threads that take a reference, read the page and drop the reference, and a shrinker.
  static func getters(_ count: Int, rounds: Int = 1) -> (Scenario) -> Void {
    { scenario in
      let machine = Machine(frames: count + 1)
      for getter in 1...count {
        scenario.thread("getter \(getter)") {
          for round in 1...rounds {
            guard let frame = machine.get() else { return check(false, "no frame") }
            machine.use(frame)
            machine.zeroPage.put()
            forget(round)
          }
        }
      }
      scenario.thread("shrinker") {
        for round in 1...rounds {
          _ = machine.zeroPage.shrinkerScan(to: machine.frames)
          forget(round)
        }
      }
      scenario.finally { machine.checkAtRest() }
    }
  }

  @Test func twoGettersAndTheShrinker() { verify("2 getters, shrinker", Self.getters(2)) }

  @Test(.enabled(if: isOptimized, "run by make interleave"))
  func threeGettersAndTheShrinker() { verify("3 getters, shrinker", Self.getters(3)) }

  @Test(.enabled(if: isOptimized, "run by make interleave"))
  func twiceAround() { verify("2 getters, shrinker, twice", Self.getters(2, rounds: 2)) }

  @Test func threeGettersAndTheShrinkerBounded() {
    let bound = isOptimized ? 2 : 0
    verify("3 getters, shrinker", Self.getters(3), with: Checker(preemptionBound: bound))
  }

  /// No thread ever waits for another: whichever is descheduled, some getter makes progress (item
  /// 23).
  @Test func itIsLockFree() {
    var options = Checker.Options()
    options.forbidsWaiting = true
    options.maximalSteps = 60
    verify("2 getters, shrinker, lock-free", Self.getters(2), with: Checker(options))
  }
}

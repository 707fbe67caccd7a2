// SPDX-License-Identifier: GPL-2.0-only
//
// For tests only. It runs the live patch's files (Tests/KernelModel).
import Interleave
import KernelModel
import Testing

/// The zero page in the kernel's variables: the live patch's AtomicWord.swift and
/// KernelFrames.swift below the production core. They run against themselves, and against the
/// kernel's own C as happens while the patch is being enabled or disabled.
///
/// The kernel is a global, so these tests run one at a time.
@Suite(.serialized) struct KernelTests {
  typealias Code = PatchedKernel.Code
  typealias Task = (get: Code, put: Code)

  /// Tasks that take a reference with one code, use the page, and drop the reference with the same
  /// or the other code; and a shrinker.
  static func tasks(
    _ getters: [Task], shrinker: Code, rounds: Int = 1, hasPage: Bool = false
  ) -> (Scenario) -> Void {
    { scenario in
      let machine = PatchedKernel(frames: getters.count + 1)
      if hasPage {
        _ = machine.get(.swift)
        machine.put(.swift)
      }
      for (number, getter) in getters.enumerated() {
        scenario.thread("getter \(number + 1)") {
          for round in 1...rounds {
            guard let frame = machine.get(getter.get) else { return check(false, "no frame") }
            machine.use(frame)
            machine.put(getter.put)
            forget(round)
          }
        }
      }
      scenario.thread("shrinker") {
        for round in 1...rounds {
          machine.shrink(shrinker)
          forget(round)
        }
      }
      scenario.finally { machine.checkAtRest() }
    }
  }

  static let swift: Task = (get: .swift, put: .swift)
  static let c: Task = (get: .c, put: .c)

  // MARK: Swift alone

  @Test func twoGettersAndTheShrinker() {
    verify("kernel: 2 getters, shrinker", Self.tasks([Self.swift, Self.swift], shrinker: .swift))
  }

  /// The page may be freed and published again between a getter's loads of the count and of the
  /// frame.
  @Test func thePageIsThereAtFirst() {
    verify(
      "kernel: 2 getters, shrinker, the page is there",
      Self.tasks([Self.swift, Self.swift], shrinker: .swift, hasPage: true))
  }

  @Test(.enabled(if: isOptimized, "run by make interleave"))
  func twiceAround() {
    verify(
      "kernel: getter, shrinker, twice", Self.tasks([Self.swift], shrinker: .swift, rounds: 2))
    verify(
      "kernel: 2 getters, shrinker, twice",
      Self.tasks([Self.swift, Self.swift], shrinker: .swift, rounds: 2),
      with: Checker(preemptionBound: 2))
  }

  @Test(.enabled(if: isOptimized, "run by make interleave"))
  func threeGettersAndTheShrinker() {
    var options = Checker.Options()
    options.maximalDuration = .seconds(600)
    verify(
      "kernel: 3 getters, shrinker",
      Self.tasks([Self.swift, Self.swift, Self.swift], shrinker: .swift), with: Checker(options))
  }

  // MARK: The kernel's C

  @Test func theKernelsOwnCode() {
    verify("kernel: C: 2 getters, shrinker", Self.tasks([Self.c, Self.c], shrinker: .c))
  }

  @Test(arguments: [Code.swift, .c], [false, true])
  func swiftAndC(shrinker: Code, hasPage: Bool) {
    verify(
      "kernel: Swift getter, C getter, \(shrinker) shrinker\(hasPage ? ", the page is there" : "")",
      Self.tasks([Self.swift, Self.c], shrinker: shrinker, hasPage: hasPage))
  }

  /// References are taken with one code and dropped with the other.
  @Test(arguments: [Code.swift, .c])
  func handover(shrinker: Code) {
    verify(
      "kernel: Swift get and C put, C get and Swift put, \(shrinker) shrinker",
      Self.tasks([(.swift, .c), (.c, .swift)], shrinker: shrinker))
  }

  // MARK: Planted bugs

  static func refute(
    _ bug: Planted, _ kinds: Set<Failure.Kind>, _ scenario: (Scenario) -> Void
  ) {
    bug.planted { ProtocolTests.refute("kernel: \(bug)", kinds, scenario) }
  }

  @Test func aCountBeforeItsPageIsFound() {
    Self.refute(.countFirst, [.check], Self.tasks([Self.swift, Self.swift], shrinker: .swift))
  }

  @Test func history11_aNumberClearedAfterTheLockIsFound() {
    Self.refute(.clearedLate, [.check], Self.tasks([Self.swift, Self.c], shrinker: .swift))
  }

  @Test func aPublicationOverAnotherIsFound() {
    Self.refute(
      .publishesAnyway, [.check], Self.tasks([Self.swift, Self.swift], shrinker: .swift))
  }

  @Test func aFrameThatIsNotLookedAtAgainIsFound() {
    Self.refute(
      .looksOnce, [.check, .dataRace, .useAfterFree],
      Self.tasks([Self.swift, Self.swift], shrinker: .swift, hasPage: true))
  }

  @Test func noLockIsFound() {
    Self.refute(.noLock, [.check], Self.tasks([Self.swift, Self.c], shrinker: .swift))
  }

  /// Makes each ordering of the file one step weaker. For those that no scenario notices, the list
  /// below says why.
  @Test(.enabled(if: isOptimized, "run by make interleave"))
  func everyOrderingIsNeeded() {
    let (_, unnoticed) = weaken(
      files: ["AtomicWord.swift"],
      [
        (Self.tasks([Self.swift, Self.swift], shrinker: .swift), nil),
        (Self.tasks([Self.swift, Self.swift], shrinker: .swift, hasPage: true), nil),
      ])
    let names = unnoticed.map { "\($0.ordering.operation)(\($0.ordering.order)) → \($0.weaker)" }
    #expect(
      names.sorted() == [
        // On x86-64 one instruction gives both orders. A put needs no acquire, a get no release.
        "add(acquireRelease) → release",
        "compareExchange(acquireRelease) → acquire",
        // In the shrinker, the lock releases.
        "compareExchange(acquireRelease) → acquire",
        // Its value is only used by compareExchange, which orders and checks again.
        "load(acquire) → relaxed",
      ])
  }
}

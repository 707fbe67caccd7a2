import Interleave
import Testing

@testable import ProtocolsModel

/// The whole engine, production source, on a machine of eight frames. Two operations run at once on
/// one space, and then everything is dropped. `make interleave` explores every schedule. An
/// unoptimized build explores only those without a preemption.
@Suite(.serialized) struct SpaceTests {
  /// What the threads share. Sendable, because fibres run one at a time.
  final class Shared: @unchecked Sendable {
    var space: AddressSpace?
    var fork: AddressSpace?
    /// The space that the fork is compared with.
    var compared: AddressSpace?
    let machine: Machine
    init(_ machine: ProtocolsModel.Machine) { self.machine = machine }
    typealias Machine = ProtocolsModel.Machine
  }

  static func on(
    _ reference: Policy.ZeroReference = .perTable, frames: Int = 8,
    _ threads: @escaping (Scenario, Shared) -> Void
  ) -> (Scenario) -> Void {
    { scenario in
      let shared = Shared(makeEngine(frames: frames, reference))
      shared.space = makeSpace(on: shared.machine)
      threads(scenario, shared)
      scenario.finally {
        shared.space = nil
        shared.fork = nil
        shared.compared = nil
        expectBaseline(shared.machine)
      }
    }
  }

  static var checker: Checker {
    var options = Checker.Options()
    options.preemptionBound = isOptimized ? nil : 0
    options.maximalDuration = .seconds(180)
    options.maximalSteps = 5000
    options.locksGuardVariables = true
    return Checker(options)
  }

  /// Expects a planted bug to be found. Either the function named by `leavingOut` does not wait for
  /// accesses to end, or the bug is in the scenario itself.
  static func refuteEngine(
    _ name: String, leavingOut wait: String? = nil, _ scenario: (Scenario) -> Void
  ) {
    plantsNoWait = wait
    defer { plantsNoWait = nil }
    var checker = checker
    checker.options.preemptionBound = 2
    refute(
      "engine: \(name)", [.check, .dataRace, .useAfterFree, .trap], scenario, with: checker)
  }

  static func faults(_ reference: Policy.ZeroReference) -> (Scenario) -> Void {
    on(reference) { scenario, shared in
      for name in ["a", "b"] {
        scenario.thread(name) { check(shared.space!.byte(at: 0) == 0) }
      }
    }
  }

  @Test(arguments: [Policy.ZeroReference.perTable, .perMapping])
  func readFaultAgainstReadFault(reference: Policy.ZeroReference) {
    verify(
      "engine: read fault, read fault, \(reference)", Self.faults(reference), with: Self.checker)
  }

  @Test func history2_aFaultThatDoesNotLookAgainIsFound() {
    plantsNoLock = true
    defer { plantsNoLock = false }
    refute(
      "engine: item 2, entries changed without the lock",
      [.check, .dataRace, .useAfterFree, .trap],
      Self.faults(.perTable), with: Checker(preemptionBound: 2))
  }

  @Test(arguments: [Policy.ZeroReference.perTable, .perMapping])
  func readFaultAgainstDiscard(reference: Policy.ZeroReference) {
    verify(
      "engine: read fault, discard, \(reference)",
      Self.on(reference) { scenario, shared in
        scenario.thread("reader") { check(shared.space!.byte(at: 0) == 0) }
        scenario.thread("discard") { try! shared.space!.discard(at: 0, length: slotSize) }
      }, with: Self.checker)
  }

  @Test func discardAndShrinkAgainstReader() {
    verify(
      "engine: discard and shrink, reader of the zero page",
      Self.on { scenario, shared in
        _ = shared.space!.byte(at: 0)
        scenario.thread("reader") { check(shared.space!.byte(at: 0) == 0) }
        scenario.thread("discard") {
          try! shared.space!.discard(at: 0, length: slotSize)
          shared.machine.shrink()
        }
      }, with: Self.checker)
  }

  @Test func writeFaultAgainstReader() {
    verify(
      "engine: write fault, reader",
      Self.on { scenario, shared in
        scenario.thread("writer") { shared.space!.put(7, at: 0) }
        scenario.thread("reader") {
          let byte = shared.space!.byte(at: 0)
          check(byte == 0 || byte == 7, "all or nothing")
        }
      }, with: Self.checker)
  }

  @Test func aDiscardedFrameIsNotReusedUnderAReader() {
    verify(
      "engine: discard of data and reuse, reader",
      Self.on { scenario, shared in
        shared.space!.put(7, at: 0)
        scenario.thread("reader") {
          let byte = shared.space!.byte(at: 0)
          check(byte == 0 || byte == 7, "never what came later")
        }
        scenario.thread("discard") {
          try! shared.space!.discard(at: 0, length: slotSize)
          shared.space!.put(9, at: slotSize)
        }
      }, with: Self.checker)
  }

  @Test func forkAgainstWrite() {
    verify(
      "engine: fork, write",
      Self.on { scenario, shared in
        shared.space!.put(1, at: 0)
        // Only the set-up can create words, so it makes the space, and the thread forks into it.
        shared.fork = makeSpace(on: shared.machine)
        scenario.thread("writer") { shared.space!.put(2, at: 0) }
        scenario.thread("fork") {
          try! shared.fork!.reset(to: shared.space!)
          let first = shared.fork!.byte(at: 0)
          check(first == 1 || first == 2, "a value that was there")
          check(shared.fork!.byte(at: 0) == first, "a fork is a point in time")
        }
      }, with: Self.checker)
  }

  @Test(.enabled(if: isOptimized, "run by make interleave"))
  func readerDiscardAndShrinker() {
    verify(
      "engine: reader, discard, shrinker",
      Self.on { scenario, shared in
        _ = shared.space!.byte(at: 0)
        scenario.thread("reader") { check(shared.space!.byte(at: 0) == 0) }
        scenario.thread("discard") { try! shared.space!.discard(at: 0, length: slotSize) }
        scenario.thread("shrinker") { shared.machine.shrink() }
      }, with: Self.checker)
  }

  /// The page exists from the start. Bounded: the whole exploration takes two minutes and finds
  /// nothing either.
  @Test(.enabled(if: isOptimized, "make interleave"))
  func threeFaultsOnOneSlot() {
    var checker = Self.checker
    checker.options.preemptionBound = 1
    verify(
      "engine: 3 faults on one slot",
      Self.on { scenario, shared in
        _ = shared.machine.getZeroPage()
        shared.machine.zeroPage.put()
        for name in ["a", "b", "c"] {
          scenario.thread(name) { check(shared.space!.byte(at: 0) == 0) }
        }
      }, with: checker)
  }

  @Test func coreCachesHandAFrameToOne() {
    var checker = Self.checker
    checker.options.preemptionBound = isOptimized ? nil : 1
    verify(
      "engine: core cache, two allocate and free",
      { scenario in
        let machine = makeEngine(frames: 4)
        for name in ["a", "b"] {
          scenario.thread(name) {
            guard let frame = machine.arena.allocateSmall() else { return check(false, "none") }
            // Two threads with the same frame would race here.
            machine.arena.clear(frame, order: 0)
            machine.arena.release(frame)
          }
        }
        scenario.finally { expectBaseline(machine) }
      }, with: checker)
  }
}

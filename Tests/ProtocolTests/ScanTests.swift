import Interleave
import Testing

@testable import ProtocolsModel

/// The scans for memory that is all zeros, and for memory of a fork that equals its origin's.
/// Production source, on the machine of `SpaceTests`. Against a write the scans run without their
/// first look, which reads contents that may be changing and decides nothing.
///
/// This is one suite with the engine's other tests: the engine has globals, so its scenarios run
/// one at a time.
extension SpaceTests {
  enum Pages { case huge, small }

  // MARK: All zeros

  /// The first page of slot 0 has been written with zeros. With small pages, the second holds 5.
  static func onZeros(
    _ pages: Pages, _ threads: @escaping (Scenario, Shared) -> Void
  ) -> (Scenario) -> Void {
    on { scenario, shared in
      if pages == .small {
        shared.machine.tune { $0.enabled = .never }
        shared.space!.put(5, at: pageSize)
      }
      shared.space!.put(0, at: 0)
      threads(scenario, shared)
      scenario.finally { check(shared.space!.byte(at: pageSize) == (pages == .small ? 5 : 0)) }
    }
  }

  static func dropZeros(_ shared: Shared) {
    let space = shared.space!
    _ = space.lock.withLock { space.dropZerosLocked(0) }
    shared.machine.settle()
  }

  static func zerosAgainstWrite(_ pages: Pages) -> (Scenario) -> Void {
    onZeros(pages) { scenario, shared in
      scenario.thread("writer") { shared.space!.put(2, at: 0) }
      scenario.thread("scan") { dropZeros(shared) }
      scenario.finally { check(shared.space!.byte(at: 0) == 2, "the write is lost") }
    }
  }

  @Test(arguments: [Pages.huge, .small]) func theZeroScanKeepsAWrite(pages: Pages) {
    verify("engine: zero scan, write, \(pages)", Self.zerosAgainstWrite(pages), with: Self.checker)
  }

  @Test(arguments: [Pages.huge, .small]) func aZeroScanThatDoesNotWaitIsFound(pages: Pages) {
    Self.refuteEngine(
      "zero scan without waiting, \(pages)", leavingOut: "withoutWriters",
      Self.zerosAgainstWrite(pages))
  }

  /// The memory that was dropped is allocated again for another slot.
  @Test(arguments: [Pages.huge, .small]) func theZeroScanAgainstAReader(pages: Pages) {
    verify(
      "engine: zero scan and reuse, reader, \(pages)",
      Self.onZeros(pages) { scenario, shared in
        scenario.thread("reader") { check(shared.space!.byte(at: 0) == 0) }
        scenario.thread("scan") {
          check(shared.space!.dropZeros(0) == (pages == .huge ? 2 : 1), "not dropped")
          shared.machine.settle()
          shared.space!.put(9, at: slotSize)
        }
      }, with: Self.checker)
  }

  @Test(arguments: [Pages.huge, .small]) func theZeroScanAgainstAFork(pages: Pages) {
    verify(
      "engine: zero scan, fork and write, \(pages)",
      Self.onZeros(pages) { scenario, shared in
        shared.fork = makeSpace(on: shared.machine)
        scenario.thread("fork") {
          try! shared.fork!.reset(to: shared.space!)
          check(shared.fork!.byte(at: 0) == 0)
          shared.space!.put(3, at: 0)
        }
        scenario.thread("scan") { Self.dropZeros(shared) }
        scenario.finally {
          check(shared.fork!.byte(at: 0) == 0, "the fork")
          check(shared.fork!.byte(at: pageSize) == (pages == .small ? 5 : 0), "the fork")
          check(shared.space!.byte(at: 0) == 3, "the origin")
        }
      }, with: Self.checker)
  }

  @Test func theZeroScanAgainstAPin() {
    verify(
      "engine: zero scan and reuse, pin",
      Self.onZeros(.huge) { scenario, shared in
        scenario.thread("pin") {
          var pins = Pins(machine: shared.machine, capacity: 3)
          try! shared.space!.pin(at: 0, length: pageSize, into: &pins)
          check(unsafe Self.word(pins[0].baseAddress!) == 0, "the frame is another's")
          pins.release()
        }
        scenario.thread("scan") {
          Self.dropZeros(shared)
          shared.space!.put(9, at: slotSize)
        }
      }, with: Self.checker)
  }

  @Test(.enabled(if: isOptimized, "make interleave"))
  func theZeroScanAgainstWriteAndDiscard() {
    var checker = Self.checker
    checker.options.preemptionBound = 2
    verify(
      "engine: zero scan, write, discard",
      Self.onZeros(.huge) { scenario, shared in
        scenario.thread("writer") { shared.space!.put(2, at: 0) }
        scenario.thread("discard") { try! shared.space!.discard(at: 0, length: slotSize) }
        scenario.thread("scan") { Self.dropZeros(shared) }
        scenario.finally {
          let byte = shared.space!.byte(at: 0)
          check(byte == 2 || byte == 0)
        }
      }, with: checker)
  }

  // MARK: Equal to the origin

  /// A fork has written the same as its origin: slot 0 holds 1. `compared` stands for the origin
  /// during the comparison.
  static func onEqual(
    _ pages: Pages, _ threads: @escaping (Scenario, Shared) -> Void
  ) -> (Scenario) -> Void {
    on { scenario, shared in
      shared.fork = makeSpace(on: shared.machine)
      if pages == .small { shared.machine.tune { $0.enabled = .never } }
      putOnes(shared.space!, pages)
      try! shared.fork!.reset(to: shared.space!)
      putOnes(shared.fork!, pages)
      shared.machine.settle()
      shared.compared = shared.space!.forkToCompare()
      threads(scenario, shared)
    }
  }

  /// With huge pages, writes all of the slot, so that it is huge in the fork too.
  static func putOnes(_ space: AddressSpace, _ pages: Pages) {
    guard pages == .huge else { return space.put(1, at: 0) }
    let ones = [UInt8](repeating: 1, count: Int(slotSize))
    unsafe ones.withUnsafeBytes { unsafe try! space.write(at: 0, from: $0) }
  }

  static func share(_ shared: Shared, _ afterwards: () -> Void = {}) {
    let fork = shared.fork!
    fork.lock.withLock {
      _ = fork.shareEqualLocked(0, with: shared.compared!)
      afterwards()
    }
    shared.compared = nil
    shared.machine.settle()
  }

  /// Removes the machine's own scans, which a writer runs if it finds no memory. Each looks at
  /// contents without the lock before it decides under it, so it may read what is being written.
  /// That is intended, but the checker reports it as a race. The scan that the scenario tests does
  /// not look.
  static func leaveOutLooks(of machine: ProtocolsModel.Machine) {
    leaveOutShrinkers(of: machine, but: [])
  }

  static func leaveOutShrinkers(of machine: ProtocolsModel.Machine, but kept: Set<String>) {
    for (index, shrinker) in machine.shrinkers.statistics.enumerated()
    where !kept.contains(shrinker.name) {
      machine.shrinkers.unregister(ShrinkerRegistry.Token(number: UInt64(index + 1)))
    }
  }

  static func equalAgainstWrite(_ pages: Pages) -> (Scenario) -> Void {
    onEqual(pages) { scenario, shared in
      scenario.thread("writer") { shared.fork!.put(2, at: 0) }
      scenario.thread("scan") { share(shared) }
      scenario.finally {
        check(shared.fork!.byte(at: 0) == 2, "the write is lost")
        check(shared.space!.byte(at: 0) == 1, "the origin has the write of its fork")
      }
    }
  }

  @Test(arguments: [Pages.huge, .small]) func theEqualScanKeepsAWrite(pages: Pages) {
    verify(
      "engine: equal scan, write of the fork, \(pages)", Self.equalAgainstWrite(pages),
      with: Self.checker)
  }

  @Test(arguments: [Pages.huge, .small]) func anEqualScanThatDoesNotWaitIsFound(pages: Pages) {
    Self.refuteEngine(
      "equal scan without waiting, \(pages)", leavingOut: "withoutWriters",
      Self.equalAgainstWrite(pages))
  }

  /// The origin is written before, during or after the comparison. If the write finds no frame, it
  /// is refused.
  static func equalAgainstWriteOfTheOrigin(
    _ pages: Pages, _ scan: @escaping (Shared) -> Void = { share($0) }
  ) -> (Scenario) -> Void {
    onEqual(pages) { scenario, shared in
      var isWritten = false
      scenario.thread("writer") { isWritten = shared.space!.putIfAllowed(3, at: 0) }
      scenario.thread("scan") { scan(shared) }
      scenario.finally {
        check(shared.fork!.byte(at: 0) == 1, "the fork has the write of its origin")
        check(shared.space!.byte(at: 0) == (isWritten ? 3 : 1), "the write is lost")
      }
    }
  }

  @Test(arguments: [Pages.huge, .small]) func theEqualScanAgainstAWriteOfTheOrigin(pages: Pages) {
    verify(
      "engine: equal scan, write of the origin, \(pages)",
      Self.equalAgainstWriteOfTheOrigin(pages), with: Self.reclaimChecker)
  }

  /// A planted bug: the scan leaves `W` in the origin's entry.
  @Test func anEqualScanThatDoesNotProtectTheOriginIsFound() {
    var checker = Self.checker
    checker.options.preemptionBound = 0
    refute(
      "engine: equal scan, origin not protected", [.check],
      Self.equalAgainstWriteOfTheOrigin(.huge) { shared in
        let root = ProtocolsModel.Entry(raw: shared.compared!.root.load(.relaxed))
        let table = Table(root.frame, in: shared.machine.arena)
        Self.share(shared) { if table[0].kind == .huge { table.set(0, table[0].madeWritable) } }
      }, with: checker)
  }

  @Test(arguments: [Pages.huge, .small]) func theEqualScanAgainstAReader(pages: Pages) {
    verify(
      "engine: equal scan and reuse, reader, \(pages)",
      Self.onEqual(pages) { scenario, shared in
        scenario.thread("reader") { check(shared.fork!.byte(at: 0) == 1) }
        scenario.thread("scan") {
          check(shared.fork!.shareEqual(0, with: shared.compared!) > 0, "not shared")
          shared.compared = nil
          shared.machine.settle()
          _ = shared.space!.putIfAllowed(9, at: slotSize)
        }
        scenario.finally { check(shared.space!.byte(at: 0) == 1) }
      }, with: Self.checker)
  }

  @Test(.enabled(if: isOptimized, "make interleave"))
  func theEqualScanAgainstBothWriters() {
    var checker = Self.checker
    checker.options.preemptionBound = 1
    verify(
      "engine: equal scan, write of the fork, write of the origin",
      Self.onEqual(.small) { scenario, shared in
        Self.leaveOutLooks(of: shared.machine)
        var written: (fork: Bool, origin: Bool) = (false, false)
        scenario.thread("fork") { written.fork = shared.fork!.putIfAllowed(2, at: 0) }
        scenario.thread("origin") { written.origin = shared.space!.putIfAllowed(3, at: 0) }
        scenario.thread("scan") { Self.share(shared) }
        scenario.finally {
          check(shared.fork!.byte(at: 0) == (written.fork ? 2 : 1))
          check(shared.space!.byte(at: 0) == (written.origin ? 3 : 1))
        }
      }, with: checker)
  }
}

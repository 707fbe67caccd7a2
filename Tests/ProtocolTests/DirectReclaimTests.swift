import Interleave
import Testing

@testable import ProtocolsModel

/// A write that finds no memory reclaims some. Production source, on machines smaller than that of
/// `SpaceTests`.
///
/// This is one suite with the engine's other tests: the engine has globals, so its scenarios run
/// one at a time.
extension SpaceTests {
  /// Small pages on a few frames. Slot 1 is not written yet; writing it takes a table and a page.
  static func onFrames(
    _ frames: Int, _ threads: @escaping (Scenario, Shared) -> Void
  ) -> (Scenario) -> Void {
    on(frames: frames) { scenario, shared in
      shared.machine.tune { $0.enabled = .never }
      _ = shared.space!.makeScannable()
      threads(scenario, shared)
    }
  }

  /// Adds a thread that writes slot 1, or is refused and changes nothing. `isSure` means that
  /// enough memory can be reclaimed, so that the write must not be refused.
  static func write(_ scenario: Scenario, _ shared: Shared, isSure: Bool = false) {
    var isWritten = false
    scenario.thread("writer") { isWritten = shared.space!.putIfAllowed(7, at: slotSize) }
    scenario.finally {
      check(shared.space!.byte(at: slotSize) == (isWritten ? 7 : 0), "lost, or written in part")
      check(isWritten || !isSure, "refused though there is memory")
    }
  }

  /// The root and the zero page leave room for only one of the two frames that the write takes.
  static func onFullOfZeroPage(
    _ threads: @escaping (Scenario, Shared) -> Void
  ) -> (Scenario) -> Void {
    onFrames(4) { scenario, shared in
      check(shared.space!.byte(at: 0) == 0)
      threads(scenario, shared)
      scenario.finally { checkZeroReferences(shared) }
    }
  }

  /// Root, table and an all-zero page leave room for only one of the two frames that the write
  /// takes. The machine's own scan comes last and looks at contents without the lock. So another
  /// scan is registered that is cheap and does not look.
  static func onFullOfZeros(
    _ threads: @escaping (Scenario, Shared) -> Void
  ) -> (Scenario) -> Void {
    onFrames(4) { scenario, shared in
      shared.space!.put(0, at: 0)
      let machine = shared.machine
      machine.shrinkers.register(
        SpaceShrinker(
          "zeros", seeks: 1, machine, objects: { $0.dataFrames },
          kinds: { $0 == .huge || $0 == .table },
          // Without the first look, which may race with a writer.
          visit: { _, space, slot in space.lock.withLock { space.dropZerosLocked(slot) } }))
      threads(scenario, shared)
    }
  }

  /// Bounded, because a round of all shrinkers at all priorities is long.
  static var reclaimChecker: Checker { reclaimChecker(isOptimized ? 1 : 0) }
  static func reclaimChecker(_ bound: Int) -> Checker {
    var checker = Self.checker
    checker.options.preemptionBound = bound
    return checker
  }

  /// Removes the scans from a machine: there is nothing for them to find, and a round of them is
  /// long.
  static func leaveOutScans(of machine: ProtocolsModel.Machine) {
    leaveOutShrinkers(of: machine, but: ["frame-caches", "thp-zero"])
  }

  // MARK: What another gives back

  @Test func directReclaimAgainstDiscard() {
    verify(
      "engine: direct reclaim, discard",
      Self.onFrames(4) { scenario, shared in
        Self.leaveOutScans(of: shared.machine)
        shared.space!.put(1, at: 0)
        shared.space!.put(2, at: pageSize)
        Self.write(scenario, shared)
        scenario.thread("discard") { try! shared.space!.discard(at: 0, length: slotSize) }
        scenario.finally { Self.contents(shared, 0, 0) }
      }, with: Self.reclaimChecker)
  }

  // MARK: The zero page

  /// The high watermark of such a small machine is 0. So the reader may map the page again, and the
  /// write may be refused.
  @Test func directReclaimAgainstReader() {
    verify(
      "engine: direct reclaim of the zero page, reader",
      Self.onFullOfZeroPage { scenario, shared in
        scenario.thread("reader") { check(shared.space!.byte(at: 0) == 0) }
        Self.write(scenario, shared)
      }, with: Self.reclaimChecker)
  }

  @Test func directReclaimAgainstDiscardOfTheZeroPage() {
    verify(
      "engine: direct reclaim of the zero page, discard",
      Self.onFullOfZeroPage { scenario, shared in
        scenario.thread("discard") { try! shared.space!.discard(at: 0, length: slotSize) }
        Self.write(scenario, shared, isSure: true)
      }, with: Self.checker)
  }

  @Test func directReclaimAgainstFork() {
    verify(
      "engine: direct reclaim of the zero page, fork",
      Self.onFullOfZeroPage { scenario, shared in
        Self.fork(scenario, shared) { fork in
          let byte = fork.byte(at: slotSize)
          check(byte == 0 || byte == 7, "a value that was there")
          check(fork.byte(at: slotSize) == byte, "a fork is a point in time")
        }
        Self.write(scenario, shared)
      }, with: Self.reclaimChecker)
  }

  /// Both writers find no memory. One reclaims, and the other waits for it.
  static func twoWriters(frames: Int, isSure: Bool) -> (Scenario) -> Void {
    onFrames(frames) { scenario, shared in
      check(shared.space!.byte(at: 0) == 0)
      var isWritten = false
      scenario.thread("other") { isWritten = shared.space!.putIfAllowed(5, at: 0) }
      write(scenario, shared, isSure: isSure)
      scenario.finally {
        check(shared.space!.byte(at: 0) == (isWritten ? 5 : 0))
        check(isWritten || !isSure, "refused though there is memory")
        checkZeroReferences(shared)
      }
    }
  }

  @Test func directReclaimAgainstDirectReclaim() {
    verify(
      "engine: direct reclaim twice, memory for both", Self.twoWriters(frames: 5, isSure: true),
      with: Self.checker)
    verify(
      "engine: direct reclaim twice, memory for one", Self.twoWriters(frames: 4, isSure: false),
      with: Self.reclaimChecker)
  }

  // MARK: Zeros

  @Test func directReclaimOfZerosAgainstReader() {
    verify(
      "engine: direct reclaim of zeros, reader",
      Self.onFullOfZeros { scenario, shared in
        scenario.thread("reader") { check(shared.space!.byte(at: 0) == 0) }
        Self.write(scenario, shared, isSure: true)
      }, with: Self.reclaimChecker)
  }

  @Test func directReclaimOfZerosAgainstWriter() {
    verify(
      "engine: direct reclaim of zeros, write to them",
      Self.onFullOfZeros { scenario, shared in
        var isWritten = false
        scenario.thread("other") { isWritten = shared.space!.putIfAllowed(5, at: 0) }
        Self.write(scenario, shared)
        scenario.finally { Self.contents(shared, isWritten ? 5 : 0, 0) }
      }, with: Self.reclaimChecker)
  }

  @Test func directReclaimOfZerosAgainstFork() {
    verify(
      "engine: direct reclaim of zeros, fork",
      Self.onFullOfZeros { scenario, shared in
        Self.fork(scenario, shared) { check($0.byte(at: 0) == 0) }
        Self.write(scenario, shared)
        scenario.finally { check(shared.fork!.byte(at: 0) == 0) }
      }, with: Self.reclaimChecker)
  }

  // MARK: Three threads

  @Test(.enabled(if: isOptimized, "make interleave"))
  func directReclaimAgainstReaderAndDiscard() {
    verify(
      "engine: direct reclaim of the zero page, reader, discard",
      Self.onFullOfZeroPage { scenario, shared in
        Self.leaveOutScans(of: shared.machine)
        scenario.thread("reader") { check(shared.space!.byte(at: 0) == 0) }
        scenario.thread("discard") { try! shared.space!.discard(at: 0, length: slotSize) }
        Self.write(scenario, shared)
      }, with: Self.reclaimChecker)
  }
}

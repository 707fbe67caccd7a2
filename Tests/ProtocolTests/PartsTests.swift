import Interleave
import Testing

@testable import ProtocolsModel

/// Huge frames that are mapped small or split while others hold them: pins, lock-free writers and
/// the deferred split queue. Production source.
///
/// This is one suite with the engine's other tests: the engine has globals, so its scenarios run
/// one at a time.
extension SpaceTests {
  /// A huge frame that a reply in progress holds too.
  static func onPinnedFrame(
    _ threads: @escaping (Scenario, Shared) -> Void
  ) -> (Scenario) -> Void {
    SpaceTests.onHugeFrame { scenario, shared in
      let frame = shared.space!.slot(0).entry.frame
      shared.machine.arena.retain(frame)
      threads(scenario, shared)
      scenario.finally {
        check(shared.machine.arena.isHuge(frame + 1), "split under the pin")
        shared.machine.arena.release(frame)
      }
    }
  }

  // MARK: The split under a pin

  /// The page is copied as soon as the mapping is split.
  static var splitUnderAPinAgainstWrite: (Scenario) -> Void {
    onPinnedFrame { scenario, shared in
      scenario.thread("writer") { shared.space!.put(2, at: 0) }
      scenario.thread("split") {
        // This splits and waits for nothing else. A discard would wait for a grace period.
        try! shared.space!.advise(at: 0, length: pageSize, .noHuge)
        try! shared.space!.advise(at: 0, length: pageSize, .populateWrite)
      }
      scenario.finally { SpaceTests.contents(shared, 2, 0) }
    }
  }

  @Test func aSplitUnderAPinKeepsAWrite() {
    verify(
      "engine: split under a pin, write", Self.splitUnderAPinAgainstWrite,
      with: SpaceTests.checker)
  }

  @Test func aSplitUnderAPinThatDoesNotWaitIsFound() {
    SpaceTests.refuteEngine(
      "split under a pin without waiting", leavingOut: "smallTable",
      Self.splitUnderAPinAgainstWrite)
  }

  /// Only this space maps the frame. Either the pin comes first and the frame stays whole, or the
  /// pin loads the entry again.
  @Test func aSplitAgainstAPin() {
    verify(
      "engine: split, pin",
      SpaceTests.onHugeFrame { scenario, shared in
        scenario.thread("pin") {
          var pins = Pins(machine: shared.machine, capacity: 3)
          try! shared.space!.pin(at: 0, length: pageSize, into: &pins)
          let value = unsafe Self.word(pins[0].baseAddress!)
          check(value == 1 || value == 0, "the frame is another's")
          pins.release()
        }
        scenario.thread("split") {
          try! shared.space!.discard(at: 0, length: pageSize)
          shared.space!.put(9, at: slotSize)
        }
      }, with: SpaceTests.checker)
  }

  // MARK: Deferred splits

  /// A huge frame of which only the second page is mapped. It is queued to be split.
  static func onQueuedFrame(
    isForked: Bool = false, hasTable: Bool = true, _ threads: @escaping (Scenario, Shared) -> Void
  ) -> (Scenario) -> Void {
    SpaceTests.on { scenario, shared in
      let space = shared.space!
      space.put(1, at: 0)
      space.put(2, at: pageSize)
      let frame = space.slot(0).entry.frame
      shared.machine.arena.retain(frame)
      try! space.discard(at: 0, length: pageSize)
      shared.machine.arena.release(frame)
      if isForked {
        shared.fork = makeSpace(on: shared.machine)
        try! shared.fork!.reset(to: space)
        // The fork writes a first page of its own, so that it has its own table.
        if hasTable { shared.fork!.put(4, at: 0) }
      }
      threads(scenario, shared)
    }
  }

  enum Holding { case pin, sameHead, anyHead }

  /// Holds the second page as a pin does, and reads it. `anyHead` does not check whether the head
  /// is still the head of a huge frame.
  static func read(_ shared: Shared, _ holding: Holding) {
    let space = shared.space!
    let arena = shared.machine.arena
    if case .pin = holding {
      var pins = Pins(machine: shared.machine, capacity: 3)
      try! space.pin(at: pageSize, length: pageSize, into: &pins)
      let value = unsafe word(pins[0].baseAddress!)
      check(value == 2 || value == 0, "neither the page nor a hole")
      return pins.release()
    }
    let section = space.grace.enter()
    let entry = space.entry(pageSize)
    var isHeld = entry.kind == .small
    if isHeld {
      if case .anyHead = holding {
        arena.retain(entry.frame)
      } else {
        isHeld = arena.retainIfSame(entry.frame)
      }
    }
    section.leave()
    guard isHeld else { return }
    check(unsafe word(arena.address(entry.frame)) == 2, "the frame is another's")
    arena.release(entry.frame)
  }

  static func word(_ page: UnsafeRawPointer) -> UInt8 {
    var byte: UInt8 = 0
    unsafe withUnsafeMutableBytes(of: &byte) { _ = unsafe memcpy($0.baseAddress!, page, 1) }
    return byte
  }

  @Test func deferredSplitAgainstPin() {
    verify(
      "engine: deferred split, pin",
      Self.onQueuedFrame { scenario, shared in
        scenario.thread("pin") { Self.read(shared, .pin) }
        scenario.thread("split") { shared.machine.splitDeferred() }
        scenario.finally { SpaceTests.contents(shared, 0, 2) }
      }, with: SpaceTests.checker)
  }

  /// The frame is split. Then the page is discarded and its frame allocated again.
  static func splitAndReuse(_ holding: Holding) -> (Scenario) -> Void {
    onQueuedFrame { scenario, shared in
      scenario.thread("pin") { read(shared, holding) }
      scenario.thread("split") {
        shared.machine.splitDeferred()
        try! shared.space!.discard(at: pageSize, length: pageSize)
        shared.space!.put(9, at: slotSize)
      }
    }
  }

  @Test func aPinnedPartIsNotReused() {
    verify(
      "engine: deferred split and reuse, pin", Self.splitAndReuse(.sameHead),
      with: SpaceTests.checker)
  }

  @Test func aReferenceOnWhateverTheHeadHasBecomeIsFound() {
    SpaceTests.refuteEngine("reference on a head that was split", Self.splitAndReuse(.anyHead))
  }

  @Test func deferredSplitAgainstDiscardInAFork() {
    verify(
      "engine: deferred split, discard in a fork",
      Self.onQueuedFrame(isForked: true) { scenario, shared in
        scenario.thread("discard") {
          try! shared.fork!.discard(at: pageSize, length: pageSize)
        }
        scenario.thread("split") { shared.machine.splitDeferred() }
        scenario.finally { SpaceTests.contents(shared, 0, 2) }
      }, with: SpaceTests.checker)
  }

  /// The last part is discarded while the frame is taken from the queue.
  @Test func deferredSplitAgainstDiscardOfTheRest() {
    verify(
      "engine: deferred split, discard of the rest",
      Self.onQueuedFrame { scenario, shared in
        scenario.thread("discard") {
          try! shared.space!.discard(at: pageSize, length: pageSize)
        }
        scenario.thread("split") { shared.machine.splitDeferred() }
      }, with: SpaceTests.checker)
  }

  /// A space and a reply hold the whole frame. Another space has discarded its first page. The
  /// first space then splits its mapping.
  @Test func deferredSplitAgainstASplitOfTheMapping() {
    verify(
      "engine: deferred split, split of the mapping under a pin",
      Self.onPinnedFrame { scenario, shared in
        shared.fork = makeSpace(on: shared.machine)
        try! shared.fork!.reset(to: shared.space!)
        try! shared.fork!.discard(at: 0, length: pageSize)
        scenario.thread("mapping") {
          try! shared.space!.advise(at: 0, length: pageSize, .noHuge)
        }
        scenario.thread("split") { shared.machine.splitDeferred() }
        scenario.finally { SpaceTests.contents(shared, 1, 0) }
      }, with: SpaceTests.checker)
  }

  /// Copying a table takes references to parts while they are being split off.
  @Test func deferredSplitAgainstTheCopyOfATable() {
    verify(
      "engine: deferred split, copy of a table",
      Self.onQueuedFrame(isForked: true, hasTable: false) { scenario, shared in
        scenario.thread("writer") { shared.fork!.put(4, at: 0) }
        scenario.thread("split") { shared.machine.splitDeferred() }
        scenario.finally {
          SpaceTests.contents(shared, 0, 2)
          check(shared.fork!.byte(at: pageSize) == 2)
        }
      }, with: SpaceTests.checker)
  }

  /// Two spaces map a part. The one that writes copies it, even while it is being split off.
  @Test func deferredSplitAgainstWriteInAFork() {
    verify(
      "engine: deferred split, write in a fork",
      Self.onQueuedFrame(isForked: true) { scenario, shared in
        scenario.thread("writer") { shared.fork!.put(3, at: pageSize) }
        scenario.thread("split") { shared.machine.splitDeferred() }
        scenario.finally {
          SpaceTests.contents(shared, 0, 2)
          check(shared.fork!.byte(at: pageSize) == 3)
        }
      }, with: SpaceTests.checker)
  }

  // MARK: Three threads

  @Test func twoDeferredSplitsAgainstDiscardInAFork() {
    verify(
      "engine: deferred split, the same again, discard in a fork",
      Self.onQueuedFrame(isForked: true) { scenario, shared in
        scenario.thread("discard") {
          try! shared.fork!.discard(at: pageSize, length: pageSize)
        }
        for name in ["split 1", "split 2"] {
          scenario.thread(name) { shared.machine.splitDeferred() }
        }
        scenario.finally { SpaceTests.contents(shared, 0, 2) }
      }, with: SpaceTests.checker)
  }

  @Test func deferredSplitAgainstPinAndDiscard() {
    var checker = SpaceTests.checker
    checker.options.preemptionBound = isOptimized ? 2 : 0
    verify(
      "engine: deferred split, pin, discard",
      Self.onQueuedFrame { scenario, shared in
        scenario.thread("pin") { Self.read(shared, .sameHead) }
        scenario.thread("discard") {
          try! shared.space!.discard(at: pageSize, length: pageSize)
          shared.space!.put(9, at: slotSize)
        }
        scenario.thread("split") { shared.machine.splitDeferred() }
      }, with: checker)
  }

  @Test(.enabled(if: isOptimized, "make interleave"))
  func faultFaultAndShrinker() {
    verify(
      "engine: fault, fault, shrinker",
      SpaceTests.on { scenario, shared in
        for name in ["a", "b"] {
          scenario.thread(name) { check(shared.space!.byte(at: 0) == 0) }
        }
        scenario.thread("shrinker") {
          _ = shared.machine.zeroPage.shrinkerScan(to: shared.machine.zeroFrames)
        }
      }, with: SpaceTests.checker)
  }
}

extension AddressSpace {
  /// The small entry of a page, or the entry above it if there is no small one. Call it within a
  /// section.
  func entry(_ offset: UInt64) -> ProtocolsModel.Entry {
    let entry = slot(offset).entry
    return entry.kind == .table ? Table(entry.frame, in: arena)[Radix.index(offset, 1)] : entry
  }
}

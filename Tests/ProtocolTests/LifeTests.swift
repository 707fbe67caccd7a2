import Interleave
import Testing

@testable import ProtocolsModel

/// Changes to memory while it is read and written: collapse, protection, moves and the underused
/// splitter. Production source, on the machine of `SpaceTests`.
///
/// This is one suite with the engine's other tests: the engine has globals, so its scenarios run
/// one at a time.
extension SpaceTests {
  /// Slot 0 has two small pages, which hold 1 and 2.
  static func onSmallPages(
    _ threads: @escaping (Scenario, Shared) -> Void
  ) -> (Scenario) -> Void {
    SpaceTests.on { scenario, shared in
      shared.machine.tune { $0.enabled = .never }
      shared.space!.put(1, at: 0)
      shared.space!.put(2, at: pageSize)
      threads(scenario, shared)
    }
  }

  /// Slot 0 is a huge frame. Its first page holds 1, its second zeros.
  static func onHugeFrame(
    _ threads: @escaping (Scenario, Shared) -> Void
  ) -> (Scenario) -> Void {
    SpaceTests.on { scenario, shared in
      shared.space!.put(1, at: 0)
      threads(scenario, shared)
    }
  }

  // MARK: Collapse

  static func collapse(_ shared: Shared) {
    check((try? shared.space!.collapseSlot(0, .requested)) == true, "not collapsed")
  }

  static func contents(_ shared: Shared, _ first: UInt8, _ second: UInt8) {
    check(shared.space!.byte(at: 0) == first, "the first page")
    check(shared.space!.byte(at: pageSize) == second, "the second page")
  }

  @Test func collapseAgainstReader() {
    verify(
      "engine: collapse, reader",
      Self.onSmallPages { scenario, shared in
        scenario.thread("reader") { check(shared.space!.byte(at: 0) == 1) }
        scenario.thread("collapse") { Self.collapse(shared) }
        scenario.finally { Self.contents(shared, 1, 2) }
      }, with: SpaceTests.checker)
  }

  static var collapseAgainstWrite: (Scenario) -> Void {
    onSmallPages { scenario, shared in
      scenario.thread("writer") { shared.space!.put(3, at: 0) }
      scenario.thread("collapse") { collapse(shared) }
      scenario.finally { contents(shared, 3, 2) }
    }
  }

  @Test func collapseKeepsAWrite() {
    verify("engine: collapse, write", Self.collapseAgainstWrite, with: SpaceTests.checker)
  }

  @Test func aCollapseThatDoesNotWaitForWritersIsFound() {
    SpaceTests.refuteEngine(
      "collapse without waiting", leavingOut: "withoutWriters", Self.collapseAgainstWrite)
  }

  @Test func collapseAgainstFork() {
    verify(
      "engine: collapse, fork",
      Self.onSmallPages { scenario, shared in
        shared.fork = makeSpace(on: shared.machine)
        scenario.thread("fork") {
          try! shared.fork!.reset(to: shared.space!)
          check(shared.fork!.byte(at: 0) == 1)
        }
        scenario.thread("collapse") { Self.collapse(shared) }
        scenario.finally {
          Self.contents(shared, 1, 2)
          check(shared.fork!.byte(at: pageSize) == 2)
        }
      }, with: SpaceTests.checker)
  }

  // MARK: Protection

  static var protectAgainstWrite: (Scenario) -> Void {
    onHugeFrame { scenario, shared in
      var isWritten = false
      var seen: UInt8 = 0
      scenario.thread("writer") { isWritten = shared.space!.putIfAllowed(2, at: 0) }
      scenario.thread("protect") {
        try! shared.space!.protect(at: 0, length: slotSize, .read)
        seen = shared.space!.byte(at: 0)
      }
      scenario.finally {
        check(seen == (isWritten ? 2 : 1), "written after the protection, or lost")
        check(shared.space!.byte(at: 0) == seen)
      }
    }
  }

  @Test func noWriteLandsAfterProtect() {
    verify("engine: protect, write", Self.protectAgainstWrite, with: SpaceTests.checker)
  }

  @Test func protectOfAPartAgainstWrite() {
    verify(
      "engine: protect of a part, write",
      Self.onHugeFrame { scenario, shared in
        var isWritten = false
        scenario.thread("writer") { isWritten = shared.space!.putIfAllowed(2, at: 0) }
        scenario.thread("protect") {
          try! shared.space!.protect(at: 0, length: pageSize, .read)
          check(shared.space!.putIfAllowed(3, at: pageSize), "the other page is as it was")
        }
        scenario.finally { Self.contents(shared, isWritten ? 2 : 1, 3) }
      }, with: SpaceTests.checker)
  }

  /// The frame is cleared without the space's knowledge. A read that still went on would see that.
  static var hideAgainstRead: (Scenario) -> Void {
    onHugeFrame { scenario, shared in
      scenario.thread("reader") {
        let byte = shared.space!.byteIfAllowed(at: 0)
        check(byte == nil || byte == 1, "read after the protection")
      }
      scenario.thread("protect") {
        try! shared.space!.protect(at: 0, length: slotSize, [])
        let frame = shared.space!.slot(0).entry.frame
        shared.machine.arena.clear(frame, order: 0)
      }
    }
  }

  @Test func noReadGoesOnAfterProtect() {
    verify("engine: protect to none, reader", Self.hideAgainstRead, with: SpaceTests.checker)
  }

  @Test func aProtectThatDoesNotWaitIsFound() {
    SpaceTests.refuteEngine(
      "protect without waiting", leavingOut: "protect", Self.protectAgainstWrite)
    SpaceTests.refuteEngine("hiding without waiting", leavingOut: "protect", Self.hideAgainstRead)
  }

  // MARK: Moves

  /// Once the move has returned, the moved frame is written at the target.
  static var moveAgainstRead: (Scenario) -> Void {
    onHugeFrame { scenario, shared in
      scenario.thread("reader") {
        let byte = shared.space!.byteIfAllowed(at: 0)
        check(byte == nil || byte == 1, "read through the old place")
      }
      scenario.thread("move") {
        try! shared.space!.move(from: 0, to: slotSize, length: slotSize)
        shared.space!.put(9, at: slotSize)
      }
    }
  }

  @Test func noReadGoesOnAtTheSourceOfAMove() {
    verify("engine: move, reader of the source", Self.moveAgainstRead, with: SpaceTests.checker)
  }

  @Test func aMoveThatDoesNotWaitIsFound() {
    SpaceTests.refuteEngine("move without waiting", leavingOut: "move", Self.moveAgainstRead)
  }

  /// The frame that the move replaced is allocated again.
  @Test func moveAgainstAReaderOfTheTarget() {
    verify(
      "engine: move and reuse, reader of the target",
      Self.onHugeFrame { scenario, shared in
        shared.space!.put(5, at: slotSize)
        scenario.thread("reader") {
          let byte = shared.space!.byte(at: slotSize)
          check(byte == 5 || byte == 1, "what was there or what came, nothing else")
        }
        scenario.thread("move") {
          try! shared.space!.move(from: 0, to: slotSize, length: slotSize)
          try! shared.space!.map(at: 0, length: slotSize)
          shared.space!.put(9, at: 0)
        }
      }, with: SpaceTests.checker)
  }

  static func moveAgainstWrite(
    _ on: (@escaping (Scenario, Shared) -> Void) -> (Scenario) -> Void, to target: UInt64,
    length: UInt64
  ) -> (Scenario) -> Void {
    on { scenario, shared in
      var isWritten = false
      var seen: UInt8 = 0
      scenario.thread("writer") { isWritten = shared.space!.putIfAllowed(3, at: 0) }
      scenario.thread("move") {
        try! shared.space!.move(from: 0, to: target, length: length)
        seen = shared.space!.byte(at: target)
      }
      scenario.finally {
        check(seen == (isWritten ? 3 : 1), "it did not arrive, or too late")
        check(shared.space!.byte(at: target) == seen)
        check(shared.space!.byteIfAllowed(at: 0) == nil, "the source is still mapped")
      }
    }
  }

  @Test func moveCarriesAWriteAlong() {
    verify(
      "engine: move, write at the source",
      Self.moveAgainstWrite(Self.onHugeFrame, to: slotSize, length: slotSize),
      with: SpaceTests.checker)
  }

  @Test func moveOfAPageCarriesAWriteAlong() {
    verify(
      "engine: move of a page, write at the source",
      Self.moveAgainstWrite(Self.onSmallPages, to: slotSize + pageSize, length: pageSize),
      with: SpaceTests.checker)
  }

  // MARK: The underused splitter

  /// A byte is written into the page of zeros. The splitter runs without its first look, which may
  /// see contents that are being changed.
  static var underusedAgainstWrite: (Scenario) -> Void {
    onHugeFrame { scenario, shared in
      scenario.thread("writer") { shared.space!.put(2, at: pageSize) }
      scenario.thread("splitter") { takeApart(shared) }
      scenario.finally { contents(shared, 1, 2) }
    }
  }

  static func takeApart(_ shared: Shared) {
    let space = shared.space!
    _ = space.lock.withLock { space.splitUnderusedLocked(0, 0, zero: .none) }
    shared.machine.settle()
  }

  @Test func theUnderusedSplitterKeepsAWrite() {
    verify("engine: underused split, write", Self.underusedAgainstWrite, with: SpaceTests.checker)
  }

  @Test func anUnderusedSplitThatDoesNotWaitIsFound() {
    SpaceTests.refuteEngine(
      "underused split without waiting", leavingOut: "withoutWriters",
      Self.underusedAgainstWrite)
  }

  @Test func theUnderusedSplitterAgainstAReader() {
    verify(
      "engine: underused split, reader",
      Self.onHugeFrame { scenario, shared in
        scenario.thread("reader") { check(shared.space!.byte(at: pageSize) == 0) }
        scenario.thread("splitter") {
          check(shared.space!.splitUnderused(0, 0) > 0, "not split")
          shared.machine.settle()
        }
        scenario.finally {
          Self.contents(shared, 1, 0)
          check(shared.machine.zeroPageReferences == 2, "the zeros are the zero page's")
        }
      }, with: SpaceTests.checker)
  }

  /// An entry without `W` has no writer under way, even if it has only just lost its `W`.
  @Test func aSplitRightAfterAProtectKeepsAWrite() {
    verify(
      "engine: protect, underused split, write",
      Self.onHugeFrame { scenario, shared in
        var isWritten = false
        scenario.thread("writer") { isWritten = shared.space!.putIfAllowed(2, at: pageSize) }
        scenario.thread("protect") {
          try! shared.space!.protect(at: 0, length: slotSize, .read)
        }
        scenario.thread("splitter") { Self.takeApart(shared) }
        scenario.finally { Self.contents(shared, 1, isWritten ? 2 : 0) }
      }, with: SpaceTests.checker)
  }
}

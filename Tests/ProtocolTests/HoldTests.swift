import Interleave
import Testing

@testable import ProtocolsModel

/// Memory that is used in place (`AddressSpace+Hold`), while whatever the background does to memory
/// runs beside it: a write through the address must not miss the space, and a read through it must
/// not see what came later.
extension SpaceTests {
  /// What the background does to the first slot.
  enum Scan: CaseIterable {
    case zeros, underused, collapse, equal

    func run(_ shared: Shared) {
      let space = shared.space!
      switch self {
      case .zeros: _ = space.lock.withLock { space.dropZerosLocked(0) }
      case .underused: _ = space.lock.withLock { space.splitUnderusedLocked(0, 0, zero: .none) }
      case .collapse: _ = try? space.collapseSlot(0, .scanned(none: 1, shared: 2))
      case .equal:
        _ = space.lock.withLock { space.shareEqualLocked(0, with: shared.compared!) }
        shared.compared = nil
      }
      shared.machine.settle()
    }
  }

  /// The first page holds 0, or 1 for the comparison with an origin, so that the scan wants it.
  private static func onHeld(
    _ scan: Scan, _ threads: @escaping (Scenario, Shared) -> Void
  ) -> (Scenario) -> Void {
    on { scenario, shared in
      leaveOutLooks(of: shared.machine)
      if scan != .underused { shared.machine.tune { $0.enabled = .never } }
      let first: UInt8 = scan == .equal ? 1 : 0
      shared.space!.put(first, at: 0)
      if scan == .equal {
        let origin = shared.space!
        shared.fork = origin
        shared.space = makeSpace(on: shared.machine)
        try! shared.space!.reset(to: origin)
        shared.space!.put(first, at: 0)
        shared.compared = origin.forkToCompare()
      }
      if scan == .collapse { shared.machine.tune { $0.enabled = .always } }
      threads(scenario, shared)
    }
  }

  /// With `ignored`, the holder's slot is not in the list: the planted bug.
  private static func writes(_ scan: Scan, ignored: Bool = false) -> (Scenario) -> Void {
    onHeld(scan) { scenario, shared in
      scenario.thread("holder") {
        let space = shared.space!
        let piece = try! space.holdToWrite(at: 0, length: Int(pageSize))
        if ignored { space.endHold(piece.slot!) }
        unsafe withUnsafeBytes(of: UInt8(2)) {
          _ = unsafe memcpy(piece.start, $0.baseAddress!, Int(pageSize))
        }
        check(unsafe word(UnsafeRawPointer(piece.start)) == 2, "the memory is another's")
        if !ignored { space.endHold(piece.slot!) }
      }
      scenario.thread("scan") { scan.run(shared) }
      scenario.finally { check(shared.space!.byte(at: 0) == 2, "the write is lost") }
    }
  }

  @Test(arguments: Scan.allCases) func aWriteInPlaceIsKept(scan: Scan) {
    verify("engine: write in place, \(scan)", Self.writes(scan), with: Self.checker)
  }

  @Test(arguments: Scan.allCases) func aScanThatIgnoresAHoldIsFound(scan: Scan) {
    Self.refuteEngine("\(scan) of a slot that is held", Self.writes(scan, ignored: true))
  }

  /// What the scan frees is used for something else.
  @Test(arguments: Scan.allCases) func aReadInPlaceSeesNothingLater(scan: Scan) {
    verify(
      "engine: read in place, \(scan) and reuse",
      Self.onHeld(scan) { scenario, shared in
        let before = shared.space!.byte(at: 0)
        scenario.thread("holder") {
          let space = shared.space!
          let piece = space.holdToRead(at: 0, length: Int(pageSize))
          check(unsafe Self.word(UnsafeRawPointer(piece.start)) == before, "something later")
          if let slot = piece.slot { space.endHold(slot) }
        }
        scenario.thread("scan") {
          scan.run(shared)
          shared.space!.put(9, at: slotSize)
        }
      }, with: Self.checker)
  }

  /// A fork takes the right to write from a page that is held. Its holder writes through the address
  /// no more, and makes the page its own again before the next write.
  @Test func aForkOfAHeldPageIsAPointInTime() {
    verify(
      "engine: hold, fork, hold again",
      Self.on { scenario, shared in
        Self.leaveOutLooks(of: shared.machine)
        shared.machine.tune { $0.enabled = .never }
        shared.space!.put(1, at: 0)
        shared.fork = makeSpace(on: shared.machine)
        scenario.thread("owner") {
          let space = shared.space!
          let piece = try! space.holdToWrite(at: 0, length: Int(pageSize))
          try! shared.fork!.reset(to: space)
          space.endHold(piece.slot!)
          let again = try! space.holdToWrite(at: 0, length: Int(pageSize))
          unsafe withUnsafeBytes(of: UInt8(2)) {
            _ = unsafe memcpy(again.start, $0.baseAddress!, Int(pageSize))
          }
          space.endHold(again.slot!)
        }
        scenario.thread("scan") { Scan.zeros.run(shared) }
        scenario.finally {
          check(shared.fork!.byte(at: 0) == 1, "the fork")
          check(shared.space!.byte(at: 0) == 2, "the write is lost")
        }
      }, with: Self.checker)
  }
}
